"""The steps of a config compiled for a TPU slice that is not there, and what they take.

What is compiled are the programs that the trainer and the evaluator run; exceeding a chip's memory
is a compile error here as there. Needs requirements-tpu.txt and no TPU.
"""

import collections
import os
import re
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from rich.table import Table

from salmu_jax import errors, train
from salmu_jax.errors import InputError
from salmu_jax.evaluate import evaluator
from salmu_jax.methods import MAKERS, base
from salmu_jax.models import clip, flops, presets
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

# The compiler alone is asked for; no TPU is to be looked for.
_ENVIRONMENT = {
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_SKIP_MDS_QUERY": "1",
}
CLIP_VOCABULARY = 49408  # where the preset takes that of the data, which is no larger
_STEPS = 1000  # of a schedule; programs do not depend on it but for a constant
_COLLECTIVES = (
  "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
)  # fmt: skip
_HOST = ("callback", "infeed", "outfeed", "SendToHost", "RecvFromHost")


class Chip(NamedTuple):
  """hbm: bytes of memory. options: that describing a slice of them takes."""

  hbm: int
  options: dict


# By the first part of a topology's name. Google Cloud, TPU system architecture, per chip.
CHIPS = {
  "v4": Chip(32 * 2**30, {"chip_config_name": "megacore"}),
  "v5e": Chip(16 * 2**30, {}),
  "v5p": Chip(95 * 2**30, {}),
  "v6e": Chip(32 * 2**30, {}),
}


class Report(NamedTuple):
  """What a compiled step takes on each chip.

  memory: bytes: arguments, results that are not donated, scratch and code. scratch: bytes of it.
  bytes_accessed: as the compiler counts them, the body of a scan once; None where it does not say.
  collectives: {kind: how many stand in the program}. host: kinds of calls to the host.
  """

  memory: int
  scratch: int
  bytes_accessed: float
  collectives: dict
  host: list


class Step(NamedTuple):
  """A program, and what it is lowered with.

  arguments(batch size) -> shapes with shardings. batch_size: of the config. model_flops(batch size)
  -> of all chips together, see `models.flops`.
  """

  jitted: Callable
  arguments: Callable
  batch_size: int
  model_flops: Callable


def describe(topology):
  """The mesh of a TPU slice by name, "v5e:4x4".

  Raises:
    InputError: unknown, or the compiler is not installed.
  """
  kind, _, shape = topology.partition(":")
  if kind not in CHIPS or not re.fullmatch(r"\d+(x\d+){1,2}", shape):
    raise InputError(
      f"--topology={topology} is not KIND:SHAPE, such as v5e:4x4 or v4:2x2x1. "
      f"{errors.unknown('Kinds', kind, list(CHIPS)) if kind not in CHIPS else ''}"
    )
  options = dict(CHIPS[kind].options)
  if set(shape.split("x")) == {"1"}:
    options["chips_per_host_bounds"] = (1, 1, 1)
  os.environ.update(_ENVIRONMENT)
  try:
    found = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f"--topology={topology} cannot be described: {str(error).splitlines()[0]}. If the TPU "
      "compiler is not installed: pip install -r requirements-tpu.txt."
    ) from error
  return sharding.make_mesh(found.devices)


def steps(config, mesh):
  """{name: Step} of all that `config` has the trainer and the evaluator run on `mesh`."""
  sizes = presets.PRESETS[config.model.preset]
  sizes = sizes._replace(vocab_size=sizes.vocab_size or CLIP_VOCABULARY)
  options = {key: config.model[key] for key in ("remat", "scan")}
  dtype, bias = jnp.dtype(config.model.compute_dtype), config.model.logit_bias
  model = clip.CLIP(sizes, dtype, bias=bias, **options)
  out = {}
  if not all(config.init.values()):
    program = train.pretrain_program(config, model, mesh, _STEPS)
    out["pretrain"] = _pretraining(program, model, mesh, config.pretrain.batch_size)
  for name, run in config.unlearn.items():
    optimizer = optimizers.make_optimizer(run.optimizer, _STEPS)
    method = base.build(MAKERS[run.method], optimizer, run.args.to_dict(), steps=_STEPS, seed=0)
    program = train.unlearn_program(config, model, mesh, method)
    out[f"unlearn {name}"] = unlearning = _unlearning(program, model, mesh, run.batch_size, method)
    if method.prepares:
      out[f"measure for {name}"] = _measuring(config, method, model, mesh, program, unlearning)
  judged = model.clone(dtype=jnp.dtype(config.evaluate.compute_dtype))
  return out | _embedding(config, judged, mesh)


def _pretraining(program, model, mesh, batch_size):
  state = _state(program, model)
  arguments = lambda size: (state, _pairs(model.sizes, mesh, size, ("text",)))
  count = lambda size: flops.training_step(model.sizes, size)
  return Step(program.step, arguments, batch_size, count)


def _unlearning(program, model, mesh, batch_size, method):
  state = _state(program, model)

  def arguments(size):
    forget = _pairs(model.sizes, mesh, size, ("text", "generic"))
    if method.surrogates:
      forget["surrogate"] = _tokens(model.sizes, mesh, size, method.surrogates.count)
    retain = _pairs(model.sizes, mesh, size, ("text",))
    return state, state.params, {"forget": forget, "retain": retain}

  # The reference and the generic captions come on top where a method reads them.
  count = lambda size: len(method.reads) * flops.training_step(model.sizes, size)
  return Step(program.step, arguments, batch_size, count)


def _measuring(config, method, model, mesh, program, unlearning):
  """The pass of gradients before the first step, of methods that measure the data."""
  jitted = train.jitted_gradients(
    model, method, mesh, layout=program.layout, accumulate=config.accumulate
  )
  return unlearning._replace(jitted=jitted, arguments=lambda size: unlearning.arguments(size)[1:])


def _embedding(config, model, mesh):
  images, texts = evaluator.jitted_encoders(model, mesh)
  shapes = clip.shapes(model)
  layout = sharding.parameter_layout(shapes, mesh, config.sharding)
  params = jax.tree.map(_shaped, shapes, layout)
  batch = lambda size: _pairs(model.sizes, mesh, size, ("text",))
  return {
    "embed images": Step(
      images,
      lambda size: (params, batch(size)["image"]),
      config.evaluate.batch_size,
      lambda size: size * flops.image(model.sizes),
    ),
    "embed texts": Step(
      texts,
      lambda size: (params, batch(size)["text"]),
      config.evaluate.batch_size,
      lambda size: size * flops.text(model.sizes),
    ),
  }


def _shaped(leaf, sharding):
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _state(program, model):
  shapes = jax.eval_shape(lambda: train.new_state(clip.init(model, 0), program.tx))
  return jax.tree.map(_shaped, shapes, program.layout)


def _pairs(sizes, mesh, size, texts):
  rows = sharding.over_batch(mesh)
  pixels = (size, sizes.image_size, sizes.image_size, 3)
  tokens = _tokens(sizes, mesh, size)
  image = jax.ShapeDtypeStruct(pixels, jnp.uint8, sharding=rows)
  return {"image": image, **dict.fromkeys(texts, tokens)}


def _tokens(sizes, mesh, *rows):
  shape = (*rows, sizes.context_length)
  return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding.over_batch(mesh))


def compile_step(step, batch_size=None):
  """Compiles a step; returns its `Report`, or None where it does not fit the memory of a chip."""
  lowered = step.jitted.lower(*step.arguments(batch_size or step.batch_size))
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      return None
    raise
  return report(compiled)


def report(compiled):
  """The `Report` of a compiled program."""
  used = compiled.memory_analysis()
  both = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
  text = compiled.as_text()
  found = re.findall(rf"= .*? ({'|'.join(_COLLECTIVES)})(?:-start)?\(", text)
  host = sorted({word for word in _HOST if re.search(word, text, re.IGNORECASE)})
  cost = compiled.cost_analysis() or {}
  return Report(
    both + used.temp_size_in_bytes + used.generated_code_size_in_bytes,
    used.temp_size_in_bytes,
    cost.get("bytes accessed"),
    dict(collections.Counter(found)),
    host,
  )


def largest_batch(step):
  """The largest batch that fits of the configured one, which does, times a power of two, up to 64.

  Each doubling is compiled.
  """
  best = step.batch_size
  while best < 64 * step.batch_size and compile_step(step, 2 * best):
    best *= 2
  return best


def table(topology, config, mesh, fit):
  """A rich table of all steps of a config; compiles them."""
  chip = CHIPS[topology.partition(":")[0]]
  out = Table(
    title=f"{config.model.preset} on {topology}: {mesh.size} chips of {chip.hbm / 2**30:.0f} GiB",
    title_justify="left",
  )
  for column in ("step", "batch", "GiB a chip", "TFLOPs a chip", "GB read and written a chip"):
    out.add_column(column, justify="left" if column == "step" else "right")
  out.add_column("between chips")
  out.add_column("largest batch", justify="right")
  for name, step in steps(config, mesh).items():
    found = compile_step(step)
    largest = f"{largest_batch(step):,}" if found and fit else ""
    out.add_row(name, f"{step.batch_size:,}", *_cells(found, step, mesh), largest)
    for call in found.host if found else ():
      raise InputError(f"The step {name!r} calls the host ({call}), which would stall a slice.")
  return out


def _cells(found, step, mesh):
  if found is None:
    return "does not fit", "", "", ""
  flops_ = step.model_flops(step.batch_size) / mesh.size / 1e12
  read = f"{found.bytes_accessed / 1e9:.1f}" if found.bytes_accessed else ""
  between = ", ".join(f"{count} {kind}" for kind, count in sorted(found.collectives.items()))
  return f"{found.memory / 2**30:.2f}", f"{flops_:.2f}", read, between or "nothing"
