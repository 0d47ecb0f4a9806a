"""Models that were not trained in this workdir: the weights of `config.init` and `config.judge`.

Such a model is a finished model folder of another run, which is used in place, or weights in
OpenCLIP's or Hugging Face's format, which are converted into the workdir once.
"""

import functools
import os
import pathlib
from typing import Any

import jax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.data import hub, tokenizers
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.errors import InputError
from salmu_jax.interop import convert
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import files, places, sharding, workdir
from salmu_jax.runtime.places import Place
from salmu_jax.train import checkpoint


def sources(config: ConfigDict) -> dict[str, str]:
  """{model: where its weights are} of the models that are not trained here."""
  weights = {**config.init, config.judge.name: config.judge.weights}
  return {name: source for name, source in weights.items() if source}


def field(config: ConfigDict, name: str) -> str:
  """The config field that names the weights of a model."""
  return f"config.init.{name}" if name in config.init else "config.judge.weights"


def model_folder(config: ConfigDict, folder: Place, name: str) -> Place:
  """The folder of a model: of a finished model elsewhere, or the model's own in this workdir.

  Args:
    config: the whole config.
    folder: the workdir.
    name: of the model.
  """
  source, where = sources(config).get(name, ""), field(config, name)
  if _is_finished(source, where):
    return places.folder(source, where)
  return folder / "models" / name


def bring(config: ConfigDict, folder: Place, scratch: pathlib.Path, name: str) -> None:
  """Converts the weights of a model into its folder in the workdir, unless they already are.

  A finished model folder elsewhere stays where it is.

  Args:
    config, folder: as for `model_folder`.
    scratch: folder for a copy of weights in a bucket.
    name: of a model of `sources`.

  Raises:
    InputError: the weights are missing, unreadable, or of another architecture than
      config.model.preset.
  """
  source, where = sources(config)[name], field(config, name)
  if not _is_finished(source, where):
    target = model_folder(config, folder, name)
    convert.import_model(source, config.model.preset, target, where, scratch)


def check(config: ConfigDict, folder: Place, name: str, tokenizer: Tokenizer) -> None:
  """Raises InputError for a model whose preset or vocabulary differs from the job's.

  Args:
    config, folder: as for `model_folder`.
    name: of a model of `sources`, after `bring`.
    tokenizer: of the job.
  """
  preset = workdir.read_model_settings(model_folder(config, folder, name))["preset"]
  where = f"{field(config, name)} = {sources(config)[name]!r}"
  if preset != config.model.preset:
    raise InputError(
      f"{where} is a model of the preset {preset!r}, but config.model.preset "
      f"is {config.model.preset!r}. Use the same preset for both."
    )
  vocabulary = model_folder(config, folder, name) / workdir.TOKENIZER
  if (
    not vocabulary.exists()
    or tokenizers.load(vocabulary, tokenizer.context_length).kept != tokenizer.kept
  ):
    raise InputError(
      f"{where} has no tokenizer.json, or another vocabulary than this release, so its weights "
      "would read other words. Use the release that it was trained on."
    )


def check_judged(config: ConfigDict) -> None:
  """Raises InputError unless config.judge names a model and its weights, or neither."""
  name, weights = config.judge.name, config.judge.weights
  if bool(name) != bool(weights):
    raise InputError(
      f"config.judge.name = {name!r} and config.judge.weights = {weights!r} go together: set both, "
      "the name of the row in the leaderboard and the weights, or neither."
    )
  if name:
    workdir.check_model_name("config.judge.name", name)


def digest(folder: Place) -> str:
  """A digest that identifies a finished model: of its weights if converted, else its settings."""
  settings = workdir.read_settings(folder)
  if "imported" in settings:
    return workdir.read_done(folder, weights=dict)["weights"].get("sha256")
  return files.digest(settings)


def load_params(
  folder: str | os.PathLike,
  model: CLIP,
  mesh: Mesh,
  rules: sharding.Rules = sharding.REPLICATED,
) -> dict[str, Any]:
  """The weights of a finished model, for `model`, laid out by `sharding.parameter_layout`.

  Layers are stacked or unstacked if the folder stores them differently from `model`.

  Args:
    folder: of the finished model.
    model: the CLIP module.
    mesh, rules: see `sharding.parameter_layout`.

  Raises:
    InputError: the weights are of another architecture; the differences are listed.
  """
  folder = places.place(folder)
  scanned = workdir.read_model_settings(folder)["scan"]
  shapes = clip.shapes(model.clone(scan=scanned))
  placed = lambda leaf, where: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)
  like = jax.tree.map(placed, shapes, sharding.parameter_layout(shapes, mesh, rules))
  params = checkpoint.load_params(folder / "params", like, workdir.read_weights_digest(folder))
  if scanned == model.scan:
    return params
  change = clip.stack_layers if model.scan else clip.unstack_layers
  layout = sharding.parameter_layout(clip.shapes(model), mesh, rules)
  return jax.jit(change, out_shardings=layout)(params)


def _is_finished(source: str, where: str) -> bool:
  """Whether a source is the folder of a finished model of this project."""
  if not source or hub.is_address(source):
    return False
  mark = places.place(source, where) / workdir.DONE
  return _marked_in_bucket(mark) if places.is_remote(mark) else mark.exists()


@functools.cache
def _marked_in_bucket(mark: Place) -> bool:
  """Whether a mark exists; a bucket is queried once."""
  return mark.exists()
