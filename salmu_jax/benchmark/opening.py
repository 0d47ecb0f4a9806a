"""Opens what a job works on: weights brought in, the release, retain pairs, ImageNet, records."""

import functools
import pathlib
import time
from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict

from salmu_jax.benchmark import preflight
from salmu_jax.benchmark.stages import PRETRAINED
from salmu_jax.data import counts, imagenet, pipeline, records, releases, tokenizers
from salmu_jax.data.releases import Release
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.generate import generator
from salmu_jax.interop import external_models
from salmu_jax.models import presets
from salmu_jax.runtime import hosts, progress, times, workdir


def bring_weights(config: ConfigDict, folder: pathlib.Path) -> None:
  """Brings the models of `config.init` and `config.judge` into the workdir `folder`."""
  for name in external_models.places(config):
    hosts.first_then_all(functools.partial(external_models.bring, config, folder, name))


def open_release(config: ConfigDict, folder: pathlib.Path) -> Release:
  """The release that `config.release` names, or one generated in the workdir `folder`."""
  return hosts.first_then_all(lambda: _open_or_generate(config, folder))


def open_imagenet(config: ConfigDict) -> ZeroShotSet | None:
  """The pictures of `config.imagenet`; None where it is empty."""
  if not config.imagenet:
    return None
  return hosts.first_then_all(lambda: imagenet.open_source(config.imagenet))


def open_pairs(config: ConfigDict, release: Release) -> tuple[Sequence | None, str]:
  """The rows of `config.retain_pairs` and their digest; (None, "") where it is empty.

  Raises:
    InputError: see `preflight.check_pairs` and `records.open_pairs`.
  """
  if not config.retain_pairs:
    return None, ""
  preflight.check_pairs(config, release)
  return records.open_pairs(config.retain_pairs)


def make_tokenizer(config: ConfigDict, folder: pathlib.Path, release: Release) -> Tokenizer:
  """CLIP's own tokenizer, or a compact one where the preset leaves the vocabulary open.

  A compact vocabulary is that of the weights brought in, or the one of the training texts.
  """
  sizes = presets.PRESETS[config.model.preset]
  if sizes.vocab_size:
    return tokenizers.clip_tokenizer(sizes.context_length)
  for name in PRETRAINED:
    path = external_models.model_folder(config, folder, name) / "tokenizer.json"
    if config.init[name] and path.exists():
      return tokenizers.load(path)
  splits = pipeline.training_splits("compromised", release.shards)
  texts = [text for split in splits for text in releases.columns(release, split)["text"]]
  return tokenizers.compact_tokenizer(sizes.context_length, [*texts, *release.generic.values()])


def open_records(release: Release, folder: pathlib.Path) -> Mapping[str, Sequence]:
  """The rows of a release by split, converted below the workdir `folder` once."""
  return hosts.first_then_all(lambda: _build_records(release, folder))


def _open_or_generate(config: ConfigDict, folder: pathlib.Path) -> Release:
  if config.release:
    release = releases.open_release(
      config.release,
      training=config.training_release,
      known_hashes=folder / "release_hashes.json",
    )
    if not release.manifest:
      counts.print_counts(release, progress.console)
    return release
  path = folder / "release"
  settings = {"seed": config.seed, **config.generate.to_dict()}
  del settings["workers"]
  workdir.run_stage(
    folder / "generate",
    "generate release",
    settings,
    lambda _: generator.generate(config.generate, config.seed, path),
  )
  return releases.open_release(path)


def _build_records(release: Release, folder: pathlib.Path) -> Mapping[str, Sequence]:
  began, written = time.monotonic(), False
  with progress.counting("building records", records.row_count(release)) as tick:

    def on_row():
      nonlocal written
      written = True
      tick()

    rows = records.build(release, folder / "records", on_row)
  if written:
    seconds = time.monotonic() - began
    progress.console.print(f"records: {progress.duration(seconds)}")
    times.recorder.done("records", seconds)
  else:
    times.recorder.reused("records")
  return rows
