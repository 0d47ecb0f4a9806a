"""Opens the inputs of a job: imported weights, release, pairs, ImageNet, records, images."""

import functools
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence

from ml_collections import ConfigDict

from salmu_jax.benchmark.job import Job
from salmu_jax.benchmark.stages import PRETRAINED, bounds
from salmu_jax.data import (
  counts,
  imagenet,
  own,
  pictures,
  pipeline,
  records,
  releases,
  separation,
  tokenizers,
)
from salmu_jax.data.dataset import Data
from salmu_jax.data.pictures import Wanted
from salmu_jax.data.releases import Release
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.errors import InputError, UnwritableError
from salmu_jax.generate import generator
from salmu_jax.interop import convert, external_models
from salmu_jax.models import presets
from salmu_jax.results import splits
from salmu_jax.results.splits import ZERO_SHOT
from salmu_jax.runtime import copies, files, hosts, places, progress, times, workdir
from salmu_jax.runtime.places import Place

_IMAGENET = "imagenet"  # its store; that of a release's zero-shot split has another name


def make_scratch(config: ConfigDict, folder: Place) -> pathlib.Path:
  """The scratch folder of a run in the workdir `folder`, created if missing.

  Raises:
    InputError: it cannot be written.
  """
  scratch = places.scratch(folder, config.scratch)
  try:
    files.require_writable(scratch)
  except UnwritableError as error:
    setting = f"config.scratch = {config.scratch!r}" if config.scratch else "The scratch folder"
    raise UnwritableError(f"{setting} cannot be used. {error}") from error
  return scratch


def bring_weights(config: ConfigDict, folder: Place, scratch: pathlib.Path) -> None:
  """Imports the models of `config.init` and `config.judge` into the workdir `folder`."""
  for name in external_models.sources(config):
    hosts.first_then_all(functools.partial(external_models.bring, config, folder, scratch, name))


def with_preset(config: ConfigDict, folder: Place) -> ConfigDict:
  """The config with the preset of the weights in `config.init.compromised`, if it names none."""
  if config.model.preset:
    return config
  scratch = places.scratch(folder, config.scratch)
  source, field = config.init.compromised, "config.init.compromised"
  config = config.copy_and_resolve_references()
  config.model.preset = hosts.first_then_all(lambda: convert.preset_of(source, field, scratch))
  return config


def open_release(
  config: ConfigDict,
  folder: Place,
  scratch: pathlib.Path,
  check: Callable[[Mapping[str, int]], object] = lambda counts: None,
) -> Release:
  """The release that `config.release` names, or one generated in the workdir `folder`.

  Args:
    config, folder: as for `bring_weights`. scratch: for copies.
    check: check({split: rows}), called before a release is generated.
  """
  return hosts.first_then_all(lambda: _open_or_generate(config, folder, scratch, check))


def open_imagenet(config: ConfigDict, scratch: pathlib.Path) -> ZeroShotSet | None:
  """The pictures of `config.imagenet`; None where it is empty."""
  if not config.imagenet:
    return None
  imagenet.check_address(config.imagenet)
  kind, _, folder = config.imagenet.partition(":")
  place = folder and places.place(folder, "config.imagenet")

  def opened() -> ZeroShotSet:
    here = place and copies.on_disk(place, scratch, "the pictures of ImageNet")
    return imagenet.open_source(f"{kind}:{here}")

  return hosts.first_then_all(opened)


def open_pairs(config: ConfigDict, scratch: pathlib.Path) -> tuple[Sequence | None, str]:
  """The rows of `config.retain_pairs` and their digest; (None, "") where it is empty.

  Raises:
    InputError: see `records.open_pairs`.
  """
  if not config.retain_pairs:
    return None, ""
  folder = places.place(config.retain_pairs, "config.retain_pairs")
  return hosts.first_then_all(
    lambda: records.open_pairs(copies.on_disk(folder, scratch, "config.retain_pairs"))
  )


def check_separation(
  release: Release, pairs: Sequence | None, pairs_digest: str, scratch: pathlib.Path
) -> None:
  """Raises InputError where holdouts share rows with training data, see `separation`."""
  hosts.first_then_all(lambda: separation.check(release, scratch, pairs, pairs_digest))


def make_tokenizer(config: ConfigDict, folder: Place, release: Release) -> Tokenizer:
  """CLIP's own tokenizer, or a compact one where the preset leaves the vocabulary open.

  A compact vocabulary comes from the imported weights, or else from the training texts.
  """
  sizes = presets.sizes(config.model.preset)
  if sizes.vocab_size:
    return tokenizers.clip_tokenizer(sizes.context_length)
  for name in PRETRAINED:
    path = external_models.model_folder(config, folder, name) / "tokenizer.json"
    if config.init[name] and path.exists():
      return tokenizers.load(path, sizes.context_length)
  splits = pipeline.training_splits("compromised", release.shards)
  texts = [text for split in splits for text in releases.columns(release, split)["text"]]
  return tokenizers.compact_tokenizer(sizes.context_length, [*texts, *release.generic.values()])


def open_records(release: Release, scratch: pathlib.Path) -> Mapping[str, Sequence]:
  """The rows of a release by split, converted below `scratch` once."""
  return hosts.first_then_all(lambda: _build_records(release, scratch))


def store_pictures(job: Job, data: Data) -> Data:
  """The data with pre-decoded images, as far as `config.stored_pictures` allows.

  Images that are not stored yet are decoded and stored; see `pictures.stored`.
  """
  folder, wanted = job.scratch / "stored_pictures", _wanted(job, data)

  def store() -> Mapping[str, Sequence]:
    with copies.locked(job.scratch):
      return pictures.stored(
        folder,
        wanted,
        size=job.model.sizes.image_size,
        most_bytes=job.config.stored_pictures * 2**30,
      )

  began, before = time.monotonic(), _stores(folder)
  rows = hosts.first_then_all(store)
  if rows and _stores(folder) == before:
    times.recorder.reused("stored pictures")
  else:
    seconds = time.monotonic() - began
    progress.console.print(f"stored pictures: {progress.duration(seconds)}")
    times.recorder.done("stored pictures", seconds)
  zero_shot = data.zero_shot
  if zero_shot:
    classes = _IMAGENET if job.config.imagenet else ZERO_SHOT
    zero_shot = zero_shot._replace(rows=rows.get(classes, zero_shot.rows))
  of_release = {split: rows.get(split, source) for split, source in data.records.items()}
  return data._replace(records=of_release, zero_shot=zero_shot)


def _stores(folder):
  """{file: when it was written} of the stores in a folder."""
  return {file: file.stat().st_mtime_ns for file in folder.glob("*.json")}


def _wanted(job: Job, data: Data) -> dict[str, Wanted]:
  """{name: what to store}: splits of evaluation first, then of unlearning, then of pretraining.

  config.retain_pairs is left out: it has millions of rows, and a run reads few of them twice.
  """
  config, release = job.config, data.release
  classes = _IMAGENET if config.imagenet else ZERO_SHOT
  judged = [split for split in splits.judged() if split in data.records]
  judged += [classes] if data.zero_shot else []
  unlearnt = config.unlearn or config.attacks.names
  unlearning = [split for half in ("forget", "retain") for split in data.splits(half) if unlearnt]
  pretraining = [
    split
    for name in bounds(config)
    if not (config.init[name] or (job.model_folder(name) / workdir.DONE).exists())
    for split in data.splits(name)
  ]
  wanted = {}
  for split in dict.fromkeys([*judged, *unlearning, *pretraining]):
    if split == _IMAGENET:
      wanted[split] = Wanted(data.zero_shot.rows, dict, data.zero_shot.stamp)
    elif split != records.PAIRS_SPLIT or not data.retain_pairs:
      whole_only = split not in (*judged, *unlearning)
      texts = functools.partial(records.texts, release, split)
      wanted[split] = Wanted(data.records[split], texts, release.digest, whole_only)
  return wanted


def _open_own(config: ConfigDict, scratch: pathlib.Path) -> Release:
  """The pairs of `config.forget` and `config.retain` as a release."""
  pairs = {name: places.place(config[name], f"config.{name}") for name in ("forget", "retain")}
  for name, path in pairs.items():
    if places.is_remote(path):
      raise InputError(f"config.{name} = {path} is in a bucket. Copy your pairs to a local disk.")
  with copies.locked(scratch):
    path = own.make(*map(pathlib.Path, pairs.values()), scratch / "own")
  return releases.open_release(path, (own.FORGET, own.RETAIN), scratch=scratch)


def _open_or_generate(config, folder, scratch, check):
  if config.forget:
    return _open_own(config, scratch)
  if config.release:
    release = releases.open_release(
      config.release, training=config.training_release, scratch=scratch
    )
    if not release.manifest:
      counts.print_counts(release, progress.console)
    return release
  path = folder / "release"

  def generate(_: Place) -> dict:
    if not places.is_remote(path):
      return generator.generate(config.generate, config.seed, path, check=check)
    copy = copies.place_of(path, scratch)
    facts = generator.generate(config.generate, config.seed, copy, check=check)
    copies.publish(path, scratch, "the release")
    return facts

  settings = {"seed": config.seed, **config.generate.to_dict()}
  del settings["workers"]
  if (folder / "generate" / workdir.DONE).exists():
    if path.exists():
      generator.check_manifest(path)
    else:  # deleted by the user; it is generated again, bit-identical
      (folder / "generate" / workdir.DONE).unlink()
  workdir.run_stage(
    folder / "generate",
    "generate release",
    settings,
    generate,
  )
  return releases.open_release(path, scratch=scratch)


def _build_records(release: Release, scratch: pathlib.Path) -> Mapping[str, Sequence]:
  began, written = time.monotonic(), False
  with progress.counting("building records", records.row_count(release)) as tick:

    def on_row():
      nonlocal written
      written = True
      tick()

    with copies.locked(scratch):
      rows = records.build(release, scratch / "records", on_row)
  if written:
    seconds = time.monotonic() - began
    progress.console.print(f"records: {progress.duration(seconds)}")
    times.recorder.done("records", seconds)
  else:
    times.recorder.reused("records")
  return rows
