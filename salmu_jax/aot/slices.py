"""Compiles the steps of a config for a TPU slice, without a TPU, and measures them.

These are the programs that the trainer and the evaluator run; exceeding a chip's memory is a
compile error here as on the slice. Needs requirements-tpu.txt.
"""

import collections
import os
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, Sharding
from ml_collections import ConfigDict
from rich.table import Table

from salmu_jax import errors, train
from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.evaluate import embeddings
from salmu_jax.generate import captions, personas
from salmu_jax.methods import base, maker
from salmu_jax.methods.base import Method
from salmu_jax.models import clip, flops, presets
from salmu_jax.models.clip import CLIP, Sizes
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

# Only the compiler is needed: libtpu must not look for a TPU.
_ENVIRONMENT = {
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "TPU_ACCELERATOR_TYPE": "v5litepod-4",
  "TPU_SKIP_MDS_QUERY": "1",
}
CLIP_VOCABULARY = 49408  # for a preset with the vocabulary of the data, which is no larger
_STEPS = 1000  # of a run; programs depend on it only through the length of a table of rates
_COLLECTIVES = (
  "all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute",
)  # fmt: skip
_HOST = ("callback", "infeed", "outfeed", "SendToHost", "RecvFromHost")


class Chip(NamedTuple):
  """A kind of TPU chip.

  Attributes:
    hbm: bytes of memory.
    options: arguments of the description of a slice of such chips.
  """

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

  Attributes:
    memory: bytes of arguments, of results that are not donated, of scratch and of code.
    scratch: bytes of scratch.
    bytes_accessed: as the compiler counts them, the body of a scan once; None if it reports
      none.
    collectives: {kind: count in the program}.
    host: kinds of calls to the host.
  """

  memory: int
  scratch: int
  bytes_accessed: float
  collectives: dict
  host: list


class Step(NamedTuple):
  """A program, and the arguments that it is lowered with.

  Attributes:
    jitted: the program.
    arguments: arguments(batch size) -> shapes with shardings.
    batch_size: of the config.
    model_flops: model_flops(batch size) -> FLOPs of all chips together, with texts at the full
      context, see `models.flops`.
    grows: whether to look for the largest batch. Not for a step that cuts texts: it cuts them by
      the batch size, and a batch that cannot be cut must fit the memory too.
  """

  jitted: Callable
  arguments: Callable[[int], Sequence[Any]]
  batch_size: int
  model_flops: Callable[[int], float]
  grows: bool = True


def describe(topology: str) -> Mesh:
  """The mesh of a TPU slice by name, "v5e:4x4".

  Raises:
    InputError: the slice is unknown, or the compiler is not installed.
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
    slice_ = topologies.get_topology_desc(platform="tpu", topology_name=topology, **options)
  except (RuntimeError, ValueError) as error:
    raise InputError(
      f"--topology={topology} cannot be described: {str(error).splitlines()[0]}. If the TPU "
      "compiler is not installed: pip install -r requirements-tpu.txt."
    ) from error
  return sharding.make_mesh(slice_.devices)


def steps(config: ConfigDict, mesh: Mesh) -> dict[str, Step]:
  """All steps that the trainer and the evaluator run for a config on a mesh, by name."""
  vocab_size = presets.sizes(config.model.preset).vocab_size or CLIP_VOCABULARY
  # Dense layers as on a TPU, though this process runs on a CPU.
  model = presets.make_model(config.model, vocab_size).clone(flat=False)
  programs = {}
  if not all(config.init.values()):
    program = train.pretrain_program(config, model, mesh, _STEPS)
    programs["pretrain"] = _pretraining(program, model, mesh, config.pretrain.batch_size)
    captions_ = lambda: {"text": _captions(model.sizes)}
    cut = train.pretrain_program(config, model, mesh, _STEPS, captions_)
    programs["pretrain, texts cut"] = programs["pretrain"]._replace(jitted=cut.jitted, grows=False)
  for name, run in config.unlearn.items():
    optimizer = optimizers.make_optimizer(run.optimizer, _STEPS)
    method = base.build(maker(run.method), optimizer, run.args.to_dict(), steps=_STEPS, seed=0)
    program = train.unlearn_program(config, model, mesh, method, run.batch_size)
    unlearning = _unlearning(program, model, mesh, run.batch_size, method)
    programs[f"unlearn {name}"] = unlearning
    if method.prepares:
      programs[f"measure for {name}"] = _measuring(config, method, model, mesh, program, unlearning)
  judged = model.clone(dtype=jnp.dtype(config.evaluate.compute_dtype))
  return programs | _embedding(config, judged, mesh)


def _pretraining(program: train.Program, model: CLIP, mesh: Mesh, batch_size: int) -> Step:
  state = _state(program, model)
  arguments = lambda size: (state, _pairs(model.sizes, mesh, size, ("text",)))
  count = lambda size: flops.training_step(model.sizes, size)
  return Step(program.jitted, arguments, batch_size, count)


def _unlearning(
  program: train.Program, model: CLIP, mesh: Mesh, batch_size: int, method: Method
) -> Step:
  state = _state(program, model)

  def arguments(size):
    forget = _pairs(model.sizes, mesh, size, ("text", "generic"))
    if method.surrogates:
      forget["surrogate"] = _tokens(model.sizes, mesh, size, method.surrogates.count)
    retain = _pairs(model.sizes, mesh, size, ("text",))
    if not method.image_tower:
      rows = sharding.over_batch(mesh)
      embedded = jax.ShapeDtypeStruct((size, model.sizes.embed_dim), jnp.float32, sharding=rows)
      forget["image"] = retain["image"] = embedded
    return state, state.params, {"forget": forget, "retain": retain}

  # Not counted: the reference and the generic captions, where a method reads them.
  count = lambda size: len(method.reads) * flops.training_step(model.sizes, size)
  return Step(program.jitted, arguments, batch_size, count)


def _measuring(
  config: ConfigDict,
  method: Method,
  model: CLIP,
  mesh: Mesh,
  program: train.Program,
  unlearning: Step,
) -> Step:
  """The gradients before the first step, of a method that measures the data."""
  jitted = train.jitted_gradients(
    model, method, mesh, layout=program.layout, accumulate=config.accumulate
  )
  return unlearning._replace(jitted=jitted, arguments=lambda size: unlearning.arguments(size)[1:])


def _embedding(config: ConfigDict, model: CLIP, mesh: Mesh) -> dict[str, Step]:
  images, texts = embeddings.jitted_encoders(model, mesh)
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


def _captions(sizes: Sizes) -> np.ndarray:
  """(N, L) tokens of generated private captions, the longest captions of a release."""
  rng = np.random.default_rng(0)
  texts = [
    captions.fact_caption(person.name, field, value, rng)[0]
    for person in personas.people(0, 200)
    for field, value in person.facts.items()
  ]
  return tokenizers.clip_tokenizer(sizes.context_length)(texts)


def _shaped(leaf: Any, sharding: Sharding) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _state(program: train.Program, model: CLIP) -> train.TrainState:
  shapes = jax.eval_shape(program.start, clip.shapes(model))
  return jax.tree.map(_shaped, shapes, program.layout)


def _pairs(sizes: Sizes, mesh: Mesh, size: int, texts: Sequence[str]) -> dict[str, Any]:
  rows = sharding.over_batch(mesh)
  pixels = (size, sizes.image_size, sizes.image_size, 3)
  tokens = _tokens(sizes, mesh, size)
  image = jax.ShapeDtypeStruct(pixels, jnp.uint8, sharding=rows)
  return {"image": image, **dict.fromkeys(texts, tokens)}


def _tokens(sizes: Sizes, mesh: Mesh, *rows: int) -> jax.ShapeDtypeStruct:
  shape = (*rows, sizes.context_length)
  return jax.ShapeDtypeStruct(shape, jnp.int32, sharding=sharding.over_batch(mesh))


def compile_step(step: Step, batch_size: int | None = None) -> Report | None:
  """Compiles a step; returns its `Report`, or None if it does not fit the memory of a chip."""
  lowered = step.jitted.lower(*step.arguments(batch_size or step.batch_size))
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      return None
    raise
  return report(compiled)


def report(compiled: jax.stages.Compiled) -> Report:
  """The `Report` of a compiled program."""
  used = compiled.memory_analysis()
  both = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
  text = compiled.as_text()
  collectives = re.findall(rf"= .*? ({'|'.join(_COLLECTIVES)})(?:-start)?\(", text)
  host = sorted({word for word in _HOST if re.search(word, text, re.IGNORECASE)})
  cost = compiled.cost_analysis() or {}
  return Report(
    both + used.temp_size_in_bytes + used.generated_code_size_in_bytes,
    used.temp_size_in_bytes,
    cost.get("bytes accessed"),
    dict(collections.Counter(collectives)),
    host,
  )


def largest_batch(step: Step) -> int:
  """The largest batch that fits, out of the configured batch times 1, 2, 4 ... 64.

  The configured batch must fit. Each doubling is compiled.
  """
  best = step.batch_size
  while best < 64 * step.batch_size and compile_step(step, 2 * best):
    best *= 2
  return best


def table(topology: str, config: ConfigDict, mesh: Mesh, fit: bool) -> Table:
  """A rich table of all steps of a config; compiles them.

  Args:
    topology: the name of the slice, as for `describe`.
    config: a checked config.
    mesh: of the slice.
    fit: whether to look for the largest batch too.
  """
  chip = CHIPS[topology.partition(":")[0]]
  lines = Table(
    title=f"{config.model.preset} on {topology}: {mesh.size} chips of {chip.hbm / 2**30:.0f} GiB",
    title_justify="left",
  )
  for column in ("step", "batch", "GiB a chip", "TFLOPs a chip", "GB read and written a chip"):
    lines.add_column(column, justify="left" if column == "step" else "right")
  lines.add_column("between chips")
  lines.add_column("largest batch", justify="right")
  for name, step in steps(config, mesh).items():
    measured = compile_step(step)
    largest = f"{largest_batch(step):,}" if measured and fit and step.grows else ""
    lines.add_row(name, f"{step.batch_size:,}", *_cells(measured, step, mesh), largest)
    for call in measured.host if measured else ():
      raise InputError(f"The step {name!r} calls the host ({call}), which would stall a slice.")
  return lines


def _cells(measured: Report | None, step: Step, mesh: Mesh) -> tuple[str, str, str, str]:
  if measured is None:
    return "does not fit", "", "", ""
  flops_ = step.model_flops(step.batch_size) / mesh.size / 1e12
  read = f"{measured.bytes_accessed / 1e9:.1f}" if measured.bytes_accessed else ""
  between = ", ".join(f"{count} {kind}" for kind, count in sorted(measured.collectives.items()))
  return f"{measured.memory / 2**30:.2f}", f"{flops_:.2f}", read, between or "nothing"
