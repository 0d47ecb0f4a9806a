"""Weights from elsewhere, of `config.init` and `config.judge`: found, brought in, checked,
loaded.
"""

import pathlib

import jax

from salmu_jax.data import hub, tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import convert
from salmu_jax.models import clip
from salmu_jax.runtime import files, sharding, workdir
from salmu_jax.train import checkpoint


def places(config):
  """{model: where its weights are} of the models that are not trained here."""
  judged = {config.judge.name: config.judge.weights}
  return {name: place for name, place in {**config.init, **judged}.items() if place}


def model_folder(config, folder, name):
  """Where a model is: a finished model of another run, or its place in this workdir.

  Args:
    config: the whole config.
    folder: the workdir.
    name: of the model.
  """
  place = places(config).get(name, "")
  return pathlib.Path(place).expanduser() if _is_ours(place) else folder / "models" / name


def bring(config, folder, name):
  """Makes a model of `places` a finished one of this workdir, unless it is one elsewhere.

  An OpenCLIP or Hugging Face file or folder, or one on the hub, becomes WORKDIR/models/<name>.

  Raises:
    InputError: not there, unreadable, or of another architecture than config.model.preset.
  """
  place = places(config)[name]
  if not _is_ours(place):
    target = model_folder(config, folder, name)
    convert.import_model(place, config.model.preset, target, field(config, name))


def field(config, name):
  """The field of the config that says where the weights of a model are."""
  return f"config.init.{name}" if name in config.init else "config.judge.weights"


def check(config, folder, name, words):
  """Raises InputError if a model of `places` is of another preset, or reads other words than
  `words`.
  """
  made = files.read_json(model_folder(config, folder, name) / workdir.SETTINGS)
  if made["model"]["preset"] != config.model.preset:
    raise InputError(
      f"{field(config, name)} = {places(config)[name]!r} is a model of the preset "
      f"{made['model']['preset']!r}, and config.model.preset is {config.model.preset!r}. Make them "
      "one."
    )
  theirs = model_folder(config, folder, name) / "tokenizer.json"
  if not theirs.exists() or tokenizers.load(theirs).kept != words.kept:
    raise InputError(
      f"{field(config, name)} = {places(config)[name]!r} has no tokenizer.json, or another "
      "vocabulary than this release gives: its weights would read other words. Use the release "
      "that it was trained on."
    )


def digest(folder):
  """Names a finished model: by its weights where they were brought in, else by how it was made."""
  settings = files.read_json(folder / workdir.SETTINGS)
  if "imported" in settings:
    return files.read_json(folder / workdir.DONE)["weights"]["sha256"]
  return files.digest(settings)


def load_params(folder, model, mesh, rules=sharding.REPLICATED):
  """The weights of a finished model, on the mesh as `mesh.parameter_layout` says, for `model`.

  Raises:
    InputError: they are of another architecture; the differences are listed.
  """
  scanned = files.read_json(folder / workdir.SETTINGS)["model"]["scan"]
  stored = model.clone(scan=scanned)
  place = lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where)
  like = clip.shapes(stored)
  like = jax.tree.map(place, like, sharding.parameter_layout(like, mesh, rules))
  params = checkpoint.load_params(folder / "params", like)
  if scanned == model.scan:
    return params
  change = clip.stack_layers if model.scan else clip.unstack_layers
  layout = sharding.parameter_layout(clip.shapes(model), mesh, rules)
  return jax.jit(change, out_shardings=layout)(params)


def _is_ours(place):
  """Whether a value of config.init is the folder of a finished model of this project."""
  if not place or hub.is_address(place):
    return False
  return (pathlib.Path(place).expanduser() / workdir.DONE).exists()
