"""One of several processes: the first writes weights, all read. FOLDER COORDINATOR COUNT NUMBER"""

import os
import pathlib
import sys

os.environ["JAX_PLATFORMS"] = "cpu"
sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

import jax
import numpy as np

from salmu_jax.runtime import hosts, sharding
from salmu_jax.train import checkpoint

folder, coordinator, count, number = sys.argv[1:]
hosts.start(coordinator, int(count), int(number))
weights = {
  "a": {"kernel": np.arange(32, dtype=np.float32).reshape(4, 8)},
  "b": np.ones((), np.float32),
}
path = pathlib.Path(folder) / "params"
hosts.first_alone(lambda: checkpoint.save_params_alone(path, weights))
mesh = sharding.make_mesh()
layout = sharding.parameter_layout(weights, mesh, (("kernel$", ("data",)), (".*", ())))
like = jax.tree.map(
  lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s), weights, layout
)
loaded = checkpoint.load_params(path, like)
assert not loaded["a"]["kernel"].is_fully_replicated
jax.tree.map(np.testing.assert_array_equal, hosts.on_host(loaded), weights)
print("read by", number)
