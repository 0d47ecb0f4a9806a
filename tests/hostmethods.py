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
  _agree_on_texts(int(number))
  print("same in", number)


def _agree_on_texts(number):
  """A long text that one process alone has takes all of them to the full context."""
  from salmu_jax import train
  from salmu_jax.data import pipeline
  from salmu_jax.models.lengths import Groups

  # Batches of two rows a process. The last process has the long text of the second batch.
  ends = [3, 3, 3, 3, 3, 3, 3, 15, *[3] * 8]
  stream = pipeline.start([{"text": np.arange(20) == end} for end in ends], 4)
  batches = train.in_batches(stream, {"text": Groups((1,), (8,), 4)}, 1)
  three = (next(batches), next(batches), next(batches))
  taken = [(bool(batch.whole), batch.rows["text"].argmax(axis=1).max()) for batch in three]
  assert taken == [(False, 3), (True, 15 if number else 3), (False, 3)], (number, taken)
  stream.close()


main(*sys.argv[1:])
