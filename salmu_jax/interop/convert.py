"""Converts models between folders of this project and those of OpenCLIP and Hugging Face.

    python -m salmu_jax.interop.convert SRC DST

A finished model folder of this project (runs/vit_b16/models/vlunlearn) is exported, with a model
card. Anything else is imported: a weights file, a folder with its config, or
hub:OWNER/NAME@REVISION.
"""

import argparse
import contextlib
import importlib.metadata
import os
import pathlib
import sys
from collections.abc import Sequence

import jax
import numpy as np

import salmu_jax
from salmu_jax.data import hub, tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import card, modelconfig, origin, statedict, weights
from salmu_jax.models import clip, leaves, presets
from salmu_jax.runtime import copies, files, pipes, places, progress, workdir
from salmu_jax.runtime.places import Place
from salmu_jax.train import checkpoint

TOKENIZER = "salmu_jax_tokenizer.json"


def import_model(
  source: str | os.PathLike,
  preset: str,
  folder: str | os.PathLike,
  field: str,
  scratch: pathlib.Path | None = None,
) -> None:
  """Converts foreign weights to a finished model folder, unless it already has them.

  The folder appears complete or not at all. An existing folder is never changed.

  Args:
    source: a file or a folder, on a disk or in a bucket, or an address on the hub.
    preset: the preset of its sizes, see `presets.sizes`.
    folder: the model folder to make.
    field: its name in errors, such as "config.init.clean".
    scratch: folder for a copy of weights in a bucket; None for the user's cache directory.

  Raises:
    InputError: the weights are missing, damaged or of another architecture, or cannot be
      downloaded; or `folder` exists with other content.
  """
  folder, source = places.folder(folder), os.fspath(source)
  done = workdir.read_done(folder) if is_finished(folder) else None
  _check_vacant(folder, done)
  pinned = hub.is_address(source)
  if pinned:
    address = hub.parse(source, field)
    source = f"{hub.PREFIX}{address.repo}@{address.revision}"
  else:
    source = os.fspath(places.place(source, field))
  same = done and done["weights"].get("source") == source
  if same and (pinned or not places.place(source).exists()):
    # A commit fixes the content, and a source deleted after the import is not needed.
    imported = workdir.read_settings(folder)["imported"]
    file = None
  else:
    kept_in = scratch or places.cache()
    here = (
      hub.fetch(source, "model", field)
      if pinned
      else copies.on_disk(places.place(source), kept_in, f"the weights of {field}")
    )
    file = weights.file_of(here, field)
    imported = {"sha256": _sha256(file, field)}
  settings = {"imported": imported, "model": {"preset": preset, "scan": False}, "seed": None}
  about = {"source": source, **imported}
  work = lambda target: _convert_weights(file, presets.sizes(preset), target, about, field)
  with contextlib.nullcontext(folder) if done else files.replacing_folder(folder) as target:
    workdir.run_stage(target, f"bring in {folder.name}", settings, work)


def _check_vacant(folder, done):
  """Raises InputError unless `folder` is an imported model, an empty folder, or absent."""
  if (done and "weights" in done) or (not done and places.is_remote(folder)):
    return  # in a bucket, the remains of an interrupted upload
  if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
    raise InputError(
      f"{folder} already exists and is neither an imported model nor an empty folder. Nothing in "
      "it was changed. Choose another folder, or move this one away."
    )


def _convert_weights(file, sizes, folder, about, field):
  """Writes params/ and tokenizer.json of a model folder from foreign weights.

  Args:
    file: of weights; a config beside it must describe the same model.
    sizes: of the model; a vocabulary of 0 is filled in from the tokenizer beside the file.
    folder: the model folder.
    about: facts about the weights to record: their source and SHA-256.
    field: their name in errors.

  Returns:
    Facts for the folder's done.json.

  Raises:
    InputError: the file is damaged, its config differs, or its tensors do not fit.
  """
  params, tokenizer, layout = _read_foreign(file, sizes, field)
  tokenizers.save(tokenizer, folder / workdir.TOKENIZER)
  checkpoint.save_params_alone(folder / "params", params)
  packages = ("jax", "flax", "safetensors")
  return {
    "reads": [],
    "moves": None,
    "steps": None,
    "wall_seconds": None,
    "device": None,
    "versions": {
      "salmu_jax": salmu_jax.__version__,
      **{package: importlib.metadata.version(package) for package in packages},
    },
    "weights": {**about, "file": file.name, "layout": layout},
    "weights_sha256": checkpoint.digest(params),
  }


def _read_foreign(file, sizes, field):
  """(params, tokenizer, layout) of foreign weights; see `_convert_weights`."""
  try:
    modelconfig.check(file.parent, sizes)
    tensors = weights.read_tensors(file)
    tokenizer = _tokenizer_beside(file, sizes)
  except InputError as error:
    raise InputError(f"{field}: {error}") from error
  full = sizes._replace(vocab_size=_full_vocabulary())
  params = statedict.from_tensors(tensors, full, f"{field}: {file}")
  if tokenizer.kept is not None:
    table = leaves.token_embedding(params)
    params = leaves.with_token_embedding(params, table[np.asarray(tokenizer.kept)])
  return params, tokenizer, statedict.layout_of(tensors)


def export_model(
  folder: str | os.PathLike,
  target: str | os.PathLike,
  layout: str = "openclip",
  where: card.Published = card.Published(),  # noqa: B008 - immutable
) -> Place:
  """Writes a finished model as a folder that OpenCLIP or Hugging Face loads, with a model card.

  A compacted vocabulary is expanded to CLIP's: kept ids get their embeddings, the others zeros.
  Texts of kept tokens are embedded as before. The compacted tokenizer is also written, so that an
  import can restore the compacted vocabulary.

  Args:
    folder: the model folder.
    target: the folder to make; it appears complete or not at all.
    layout: a key of statedict.LAYOUTS.
    where: what the model card links to.

  Returns:
    The path of the weights.

  Raises:
    InputError: `folder` is not a finished model, or `target` exists and is not empty.
  """
  folder, target = places.folder(folder, "SRC"), places.folder(target, "DST")
  if not is_finished(folder):
    raise InputError(
      f"{folder} is not a {weights.FINISHED}. Name one, such as WORKDIR/models/vlunlearn."
    )
  if target.exists() and (not target.is_dir() or any(target.iterdir())):
    raise InputError(f"{target} already exists and is not an empty folder. Name another DST.")
  params, sizes, tokenizer = _read_finished(folder)
  name = modelconfig.WEIGHTS[layout]
  with files.replacing_folder(target) as partial:
    tensors = statedict.to_tensors(params, sizes, layout)
    weights.write_tensors(partial / name, tensors)
    bias = params.get("logit_bias")
    modelconfig.write(partial, sizes, layout, None if bias is None else float(bias))
    if tokenizer.kept is not None:
      tokenizers.save(tokenizer, partial / TOKENIZER)
    files.write_json(partial / origin.FILE, origin.of(folder))
    text = card.markdown(folder, sizes, layout, tokenizer, where)
    files.write_text(partial / "README.md", text)
  return target / name


def restore_model(source: pathlib.Path, folder: Place, field: str) -> None:
  """Restores the finished model folder that was exported to `source`, without its logs.

  Args:
    source: a folder from `export_model`.
    folder: the model folder to make; it appears complete or not at all.
    field: its name in errors.

  Raises:
    InputError: `source` was not exported by this project, or is damaged. Its settings, facts and
      tokenizer are compared with its checksums, if it has them.
  """
  settings, done = origin.read(source, field)
  preset, scan = settings["model"]["preset"], settings["model"]["scan"]
  with files.replacing_folder(folder) as partial:
    params, tokenizer, _ = _read_foreign(
      weights.file_of(source, field), presets.sizes(preset), field
    )
    tokenizers.save(tokenizer, partial / workdir.TOKENIZER)
    params = clip.stack_layers(params) if scan else params
    checkpoint.save_params_alone(partial / "params", params)
    origin.write(partial, settings, done, f"{field}: {source / origin.FILE}")


def weights_digest(folder: Place) -> str:
  """The digest of the weights of a finished model folder, as in results files."""
  return checkpoint.digest(_load_params(folder)[0])


def _sha256(file, field):
  try:
    return weights.sha256(file)
  except InputError as error:
    raise InputError(f"{field}: {error}") from error


def preset_of(source: str, field: str, scratch: pathlib.Path | None = None) -> str:
  """The preset of a model, or a name made of its sizes, from its settings, config or tensors.

  Args:
    source: as for `import_model`, or a finished model folder. field: its name in errors.
    scratch: folder for a copy of weights in a bucket; None for the user's cache directory.

  Raises:
    InputError: as `import_model`.
  """
  if not hub.is_address(source) and is_finished(source):
    return workdir.read_model_settings(places.place(source))["preset"]
  place = (
    hub.fetch(source, "model", field)
    if hub.is_address(source)
    else copies.on_disk(places.place(source, field), scratch or places.cache(), "the weights")
  )
  file = weights.file_of(place, field)
  try:
    sizes = modelconfig.sizes(file.parent)
    if sizes is None:
      sizes = statedict.sizes_of(weights.read_tensors(file), file)
      progress.console.print(
        f"{field}: {file.name} has no config beside it, so its sizes are read from its tensors, "
        f"with heads of {sizes.vision.width // sizes.vision.heads} dimensions and GELU, as in "
        "CLIP."
      )
  except InputError as error:
    raise InputError(f"{field}: {error}") from error
  if (file.parent / TOKENIZER).exists():
    sizes = sizes._replace(vocab_size=0)  # a compacted vocabulary
  name = presets.name_of(sizes)
  presets.sizes(name, f"{field}: the sizes of {file}")  # refuses impossible sizes
  return name


def is_finished(folder: str | os.PathLike) -> bool:
  """Whether a path is a finished model folder of this project."""
  folder = places.place(folder)
  return (folder / workdir.DONE).exists() and (folder / "params").is_dir()


def _load_params(folder):
  """(params, sizes, tokenizer) of a model folder, as stored."""
  settings = workdir.read_model_settings(folder)
  sizes = presets.sizes(settings["preset"], f"{folder / workdir.SETTINGS}: model.preset")
  tokenizer = tokenizers.load(folder / workdir.TOKENIZER, sizes.context_length)
  sizes = sizes._replace(vocab_size=tokenizer.vocab_size)
  # The settings of imported weights do not say whether there is a logit bias.
  bias = "logit_bias" in checkpoint.saved_names(folder / "params")
  like = clip.shapes(clip.CLIP(sizes, scan=settings["scan"], bias=bias))
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
  noted = workdir.read_weights_digest(folder)
  return checkpoint.load_params(folder / "params", like, noted), sizes, tokenizer


def _read_finished(folder):
  """(unrolled params with the full vocabulary, their sizes, the tokenizer) of a model folder."""
  params, sizes, tokenizer = _load_params(folder)
  params = jax.device_get(clip.unstack_layers(params))
  if tokenizer.kept is not None:
    table = leaves.token_embedding(params)
    expanded = np.zeros((_full_vocabulary(), table.shape[1]), np.float32)
    expanded[np.asarray(tokenizer.kept)] = table
    params = leaves.with_token_embedding(params, expanded)
  return params, sizes._replace(vocab_size=_full_vocabulary()), tokenizer


def _tokenizer_beside(file, sizes):
  """The tokenizer beside the weights if the preset leaves the vocabulary open, else CLIP's."""
  if sizes.vocab_size:
    return tokenizers.clip_tokenizer(sizes.context_length)
  path = file.parent / TOKENIZER
  if not path.exists():
    raise InputError(
      f"{file} has no {TOKENIZER} beside it, which lists the tokens of a model with a compacted "
      "vocabulary. Keep all files of the exported folder together."
    )
  return tokenizers.load(path, sizes.context_length)


def _full_vocabulary():
  return tokenizers.clip_tokenizer().vocab_size


def main(argv: Sequence[str] | None = None) -> int:
  """Exports or imports a model from the command line; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m salmu_jax.interop.convert",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("src", help="a finished model folder, or foreign weights")
  parser.add_argument("dst", help="the folder to make")
  parser.add_argument(
    "--preset",
    help="preset of foreign weights, if neither their config nor their shapes determine it: "
    f"{', '.join(presets.PRESETS)}",
  )
  parser.add_argument(
    "--layout", choices=statedict.LAYOUTS, help="layout of an export; default: openclip"
  )
  args = parser.parse_args(argv)
  try:
    print(_converted(args.src, args.dst, args.preset, args.layout))
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


def _converted(source: str, target: str, preset: str | None, layout: str | None) -> str:
  """Exports or imports a model, see `main`; returns what was made, in words."""
  pinned = hub.is_address(source)
  place = None if pinned else places.place(source, "SRC")
  folder = places.folder(target, "DST")
  if place:
    places.refuse_inside(folder, "DST", place, "SRC")
  if not pinned and is_finished(source):
    if preset is not None:
      raise InputError(
        f"--preset={preset} is for foreign weights, but SRC = {source!r} is a model folder, which "
        "states its preset. Leave --preset out."
      )
    file = export_model(source, target, layout or "openclip")
    size = places.size(file) / 2**20
    return (
      f"{file.parent}: {layout or 'openclip'} weights of {size:,.1f} MiB, config and model card"
    )
  if layout is not None:
    raise InputError(
      f"--layout={layout} is for exports, but SRC = {source!r} is not a {weights.FINISHED}. Leave "
      "--layout out."
    )
  preset = preset or preset_of(source, "SRC")
  presets.sizes(preset, "--preset")
  import_model(source, preset, target, "SRC")
  return f"{target}: a model folder for config.init, preset {preset}"


if __name__ == "__main__":
  with pipes.ending_quietly():
    sys.exit(main())
