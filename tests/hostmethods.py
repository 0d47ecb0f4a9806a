"""One of several processes: measuring methods on split parameters. COORDINATOR COUNT NUMBER"""

import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import jax
import numpy as np

from salmu_jax.runtime import hosts, sharding

RULES = (("proj/kernel$|projection$", ("data",)), (".*", ()))


def main(coordinator, count, number):
  hosts.start(coordinator, int(count), int(number))
  # Imported after `hosts.start`, because it makes arrays.
  from methodruns import BATCHES, COMPOSED, Run

  own = sharding.make_mesh(jax.local_devices()[:1])
  # Together these methods need every kind of measurement.
  for name in ("l2ul", *COMPOSED):
    together, alone = Run(name, sharding.make_mesh(), RULES), Run(name, own)
    ends = [run.walk(run.start, BATCHES)[0].params for run in (together, alone)]
    for a, b in zip(*(jax.tree.leaves(hosts.on_host(end)) for end in ends), strict=True):
      np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-6, err_msg=name)
  print("same in", number)


main(*sys.argv[1:])
