"""Parameters are sharded by the rules; an unused rule and an unmatched parameter are refused."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from salmu_jax import train
from salmu_jax.errors import InputError
from salmu_jax.models import clip, leaves
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

EIGHT = sharding.make_mesh()
WHOLE = PartitionSpec()
MODEL = CLIP(
  Sizes(8, 16, 8, Tower(16, 2, 2), Tower(8, 2, 2), context_length=7, vocab_size=20), scan=True
)
SHAPES = jax.eval_shape(lambda: clip.init(MODEL, 0))


def specs(tree):
  flat, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf.spec for path, leaf in flat}


def test_fsdp_splits_matrices_by_their_columns_scanned_or_not():
  scanned = specs(sharding.parameter_layout(SHAPES, EIGHT, leaves.FSDP))
  kernel = "visual/transformer/blocks/in_proj/kernel"
  assert scanned[kernel] == PartitionSpec(None, None, "data")
  assert scanned["text/token_embedding/embedding"] == PartitionSpec(None, "data")
  assert scanned["visual/transformer/blocks/in_proj/bias"] == WHOLE == scanned["logit_scale"]
  unrolled = jax.eval_shape(lambda: clip.init(MODEL.clone(scan=False), 0))
  flat = specs(sharding.parameter_layout(unrolled, EIGHT, leaves.FSDP))
  assert flat["visual/transformer/block_1/in_proj/kernel"] == PartitionSpec(None, "data")
  matrices = {n for n, leaf in specs(scanned_shapes()).items() if leaf}
  assert matrices == {n for n, spec in scanned.items() if spec != WHOLE}


def scanned_shapes():
  """SHAPES with `spec` true for the leaves that are matrices."""

  class Leaf:
    def __init__(self, path, leaf):
      layered = any(key.key == "blocks" for key in path)
      self.spec = leaf.ndim - layered > 1

  return jax.tree_util.tree_map_with_path(Leaf, SHAPES)


def test_everything_is_whole_by_default():
  assert set(specs(sharding.parameter_layout(SHAPES, EIGHT)).values()) == {WHOLE}


def test_the_first_rule_that_matches_decides():
  rules = ((r"in_proj/kernel$", ()), (r"kernel$", ("data",)), (".*", ()))
  layout = specs(sharding.parameter_layout(SHAPES, EIGHT, rules))
  assert layout["visual/transformer/blocks/in_proj/kernel"] == WHOLE
  assert layout["visual/transformer/blocks/c_fc/kernel"] == PartitionSpec(None, None, "data")


@pytest.mark.parametrize(
  "rules, message",
  [
    (((r"kernel$", ("data",)),), r"no rule for the parameter logit_scale"),
    (((r"kernle$", ("data",)), (".*", ())), r"the rule .*kernle.* applies to no parameter"),
    (((".*", ()), (r"kernel$", ("data",))), r"the rule .*kernel.* applies to no parameter"),
    (((".*", ("data",)),), r"last 1 dimensions of logit_scale, which is \(\)"),
    (((r"token_embedding", ("data", None)), (".*", ())), r"20 of text/token_embedding.*8 devices"),
    (((r"kernel$", ("model",)), (".*", ())), r"the axis 'model'; the mesh has 'data'"),
    (((r"kernel($", ("data",)), (".*", ())), r"not a regular expression"),
  ],
)
def test_rules_that_leave_something_over_are_refused(rules, message):
  with pytest.raises(InputError, match=message):
    sharding.parameter_layout(SHAPES, EIGHT, rules)


def test_what_is_kept_per_parameter_lies_as_the_parameter_does():
  tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-3))
  layout = specs(train.state_layout(SHAPES, tx, EIGHT, leaves.FSDP).opt_state)
  moments = {name for name in layout if name.endswith("c_fc/kernel")}
  assert len(moments) == 4  # mu and nu of both towers
  assert {layout[name] for name in moments} == {PartitionSpec(None, None, "data")}
  assert layout["1/0/count"] == WHOLE


def test_the_table_of_learning_rates_is_whole_on_every_device():
  tx = optimizers.make_optimizer(optimizers.settings(1e-3), 15)  # 16 rates, which eight divide
  layout = specs(train.state_layout(SHAPES, tx, EIGHT, leaves.FSDP).opt_state)
  assert layout["1/rates"] == WHOLE


def test_per_parameter_state_with_axes_of_its_own_in_front_is_split_at_the_back():
  tx = optax.GradientTransformation(
    lambda params: {
      "basis": jax.tree.map(lambda p: jnp.zeros((3, *p.shape)), params),
      "size": jax.tree.map(lambda p: jnp.zeros(()), params),
    },
    lambda updates, state, params=None: (updates, state),
  )
  layout = specs(train.state_layout(SHAPES, tx, EIGHT, leaves.FSDP).opt_state)
  assert layout["basis/visual/proj"] == PartitionSpec(None, None, "data")
  assert layout["size/visual/proj"] == WHOLE


def test_a_batch_must_divide_in_each_of_its_parts():
  sharding.check_batch(EIGHT, "pretrain.batch_size", 32, accumulate=4)
  with pytest.raises(InputError, match=r"pretrain\.batch_size = 24.*8 devices.*accumulate = 2.*16"):
    sharding.check_batch(EIGHT, "pretrain.batch_size", 24, accumulate=2)


def test_a_batch_that_every_process_holds_whole_keeps_its_order():
  rows = np.arange(32).reshape(16, 2)
  np.testing.assert_array_equal(sharding.put_whole_batch(rows, EIGHT), rows)


def test_what_the_environment_says_of_types_and_random_numbers_changes_no_result():
  code = (
    "import jax; from salmu_jax.runtime import sharding; sharding.make_mesh();"
    "drawn = jax.random.normal(jax.random.key(0), (2,));"
    "print(drawn.tolist(), drawn + jax.numpy.arange(2), jax.numpy.arange(2.0).dtype,"
    "jax.config.jax_default_matmul_precision)"
  )
  said = set()
  for variables in (
    {},
    {"JAX_ENABLE_X64": "1", "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16"},
    {"JAX_DEFAULT_PRNG_IMPL": "rbg", "JAX_NUMPY_DTYPE_PROMOTION": "strict"},
    {"JAX_THREEFRY_PARTITIONABLE": "0", "JAX_TRANSFER_GUARD_HOST_TO_DEVICE": "disallow"},
    {"JAX_RANDOM_SEED_OFFSET": "3", "JAX_TRANSFER_GUARD": "disallow"},
  ):
    done = subprocess.run(
      [sys.executable, "-c", code], env=os.environ | variables, capture_output=True, text=True
    )
    said.add(done.stdout)
  assert len(said) == 1 and "float32 None" in said.pop()


def test_a_platform_that_is_not_there_is_named():
  code = "from salmu_jax.runtime import sharding; sharding.devices_of_all()"
  env = os.environ | {"JAX_PLATFORMS": "cuda"}
  done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
  assert "InputError: JAX finds no device (JAX_PLATFORMS=cuda)" in done.stderr
