"""What the trainer runs compiles for TPU slices, fits, and talks between chips as it is meant
to.
"""

import re

import pytest

from configs import vit_b16_scratch
from salmu_jax.aot import slices
from salmu_jax.errors import InputError
from salmu_jax.models import clip, flops, presets
from salmu_jax.models.clip import Sizes, Tower

ROWS, WIDTH = 64, 64  # of all embeddings of a batch


def small(loss="contrastive_ring", **changes):
  """The config for ViT-B/16 from nothing, with narrow towers."""
  config = vit_b16_scratch.get_config("finetune")
  config.model.preset = "vit_b16_narrow"
  config.pretrain.update(loss=loss, batch_size=ROWS)
  config.evaluate.batch_size = ROWS
  for run in config.unlearn.values():
    run.batch_size = ROWS
  config.update(changes)
  return config


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
  import jax

  before = (
    jax.config.jax_optimization_level if hasattr(jax.config, "jax_optimization_level") else None
  )
  jax.config.update("jax_optimization_level", "O0")
  yield
  jax.config.update("jax_optimization_level", before or "UNKNOWN")


def program(config, mesh, name):
  step = slices.steps(config, mesh)[name]
  return step.jitted.lower(*step.arguments(step.batch_size)).compile()


def gathered(text, kind="f32"):
  """How many all-gathers leave a chip with all of a batch's embeddings of one dtype."""
  return len(re.findall(rf"= {kind}\[{ROWS},{WIDTH}\]\S* all-gather", text))


@pytest.mark.tpu_backend
@pytest.mark.parametrize("topology", ["v5e:2x4", "v4:2x2x1"])
def test_every_step_compiles_for_a_slice_fits_and_never_calls_the_host(topology):
  mesh = slices.describe(topology)
  reports = {name: slices.compile_step(step) for name, step in slices.steps(small(), mesh).items()}
  assert set(reports) == {
    "pretrain", "pretrain, texts cut", "unlearn finetune", "embed images", "embed texts"
  }  # fmt: skip
  assert reports["pretrain, texts cut"].bytes_accessed < reports["pretrain"].bytes_accessed
  hbm = slices.CHIPS[topology.split(":")[0]].hbm
  for report in reports.values():
    assert 0 < report.memory < hbm and report.host == []
  assert reports["pretrain"].collectives["collective-permute"] >= 1


@pytest.mark.tpu_backend
@pytest.mark.parametrize("topology", ["v5e:2x4", "v4:2x2x1"])
def test_the_ring_passes_shards_on_and_gathers_no_side_where_the_definition_does(topology):
  mesh = slices.describe(topology)
  ring = program(small(), mesh, "pretrain").as_text()
  plain = program(small("contrastive"), mesh, "pretrain").as_text()
  assert "collective-permute" in ring and "collective-permute" not in plain
  assert gathered(ring) == 0 < gathered(plain)


@pytest.mark.tpu_backend
def test_the_pass_that_measures_is_compiled_too():
  mesh = slices.describe("v5e:2x4")
  config = small()
  config.unlearn = vit_b16_scratch.get_config("salun").unlearn
  config.unlearn.salun.batch_size = ROWS
  steps = slices.steps(config, mesh)
  assert {"unlearn salun", "measure for salun"} <= set(steps)
  report = slices.compile_step(steps["measure for salun"])
  assert report.host == [] and 0 < report.memory < slices.CHIPS["v5e"].hbm


@pytest.mark.tpu_backend
def test_what_exceeds_the_memory_of_a_chip_is_said_to():
  mesh = slices.describe("v5e:1x1")
  step = slices.steps(small("contrastive"), mesh)["pretrain"]
  assert slices.compile_step(step) is not None
  assert slices.compile_step(step, 2**17) is None


@pytest.mark.tpu_backend
def test_split_parameters_take_less_of_each_chip():
  mesh = slices.describe("v5e:2x4")
  rules = ((r"(c_fc|c_proj|in_proj|out_proj)/kernel$|token_embedding", ("data",)), (".*", ()))
  whole, split = (
    slices.compile_step(slices.steps(small(**changes), mesh)["pretrain"])
    for changes in ({}, {"sharding": rules})
  )
  assert split.memory - split.scratch < (whole.memory - whole.scratch) / 2


@pytest.mark.parametrize("topology", ["v9:2x2", "v5e", "v5e:0", "v5e:2x", ""])
def test_an_unknown_topology_is_refused_with_the_known_kinds(topology):
  with pytest.raises(InputError, match="v5e"):
    slices.describe(topology)


def test_flops_by_hand_are_those_that_xla_counts_of_an_unrolled_model():
  import jax
  import jax.numpy as jnp

  sizes = Sizes(64, 32, 8, Tower(512, 2, 2), Tower(256, 3, 2), context_length=12, vocab_size=20)
  model = clip.CLIP(sizes)
  params = jax.eval_shape(lambda: clip.init(model, 0))

  def counted(method, batch):
    apply = jax.jit(lambda p, x: model.apply({"params": p}, x, method=method))
    return apply.lower(params, batch).cost_analysis()["flops"]

  image = counted(clip.CLIP.encode_image, jnp.zeros((1, 32, 32, 3)))
  text = counted(clip.CLIP.encode_text, jnp.zeros((1, 12), jnp.int32))
  # XLA also counts norms, activations and softmax.
  assert flops.image(sizes) == pytest.approx(image, rel=0.03) and flops.image(sizes) < image
  assert flops.text(sizes) == pytest.approx(text, rel=0.05) and flops.text(sizes) < text


def test_flops_of_vit_b16_are_the_published_ones():
  sizes = presets.PRESETS["vit_b16"]
  # OpenCLIP's model_profile.csv says 35.13 and 5.96 GFLOPs.
  assert flops.image(sizes) == pytest.approx(35.13e9, rel=0.01)
  assert flops.text(sizes) == pytest.approx(5.96e9, rel=0.02)
