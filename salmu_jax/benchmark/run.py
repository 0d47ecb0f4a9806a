"""The benchmark from nothing to a leaderboard, in time order; each stage skips what is done."""

import functools
import pathlib
import time

import jax
import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from salmu_jax import attacks, defaults
from salmu_jax.benchmark import configuration, judging, stages
from salmu_jax.data import hub, imagenet, pipeline, records, releases, tokenizers, zero_shot
from salmu_jax.data.counts import print_counts
from salmu_jax.data.dataset import check_rows
from salmu_jax.errors import InputError
from salmu_jax.generate import generator
from salmu_jax.interop import external_models
from salmu_jax.methods import surrogates
from salmu_jax.models import clip, presets
from salmu_jax.report import leaderboard, writing
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import files, hosts, progress, sharding, workdir


def run(config, folder, stop=None):
  """Runs the benchmark that `config` describes.

  Args:
    config: a ConfigDict with the schema of salmu_jax/defaults.py.
    folder: the workdir. Everything is written below it; a second start goes on where the first
      ended, and does nothing where it was finished. All processes of a run see the same.
    stop: a `hosts.Stop`, to end training between two steps when SIGTERM comes; or None.

  Raises:
    InputError: bad input, named, before anything is computed with it.
  """
  began = time.monotonic()
  folder = pathlib.Path(folder).expanduser().absolute()
  mesh = sharding.make_mesh()
  schema = defaults.get_config()
  configuration.check(config, schema, defaults.unlearning_run(), mesh)
  config = configuration.chosen(config, schema)
  hosts.check_same("config or workdir", files.digest([str(folder), config.to_dict()]))

  setup = prepare(config, folder, mesh)._replace(stop=stop)
  if _finished(setup):
    progress.console.print(f"Nothing to do: every stage in {folder} is done.")
    results = read_results(folder / "results")
    if hosts.is_first():
      leaderboard.show(leaderboard.rows(results, config.diagnosis.to_dict()), Console())
    return

  # Models
  _summarise(setup)
  evaluator = judging.make_evaluator(setup)
  params = {name: stages.pretrain(setup, name) for name in stages.PRETRAINED}
  judging.store_fragile_set(setup, evaluator, params["compromised"])
  attacker = judging.make_attacker(setup, evaluator, params["clean"])
  for name in stages.PRETRAINED:
    judging.evaluate(setup, evaluator, name, params[name], attacker)

  # Unlearning
  for name in config.unlearn:
    unlearned = stages.unlearn(setup, name, params["compromised"])
    judging.evaluate(setup, evaluator, name, unlearned, attacker)
  if config.judge.name:
    judged = stages.load_params(setup, setup.model_folder(config.judge.name))
    judging.evaluate(setup, evaluator, config.judge.name, judged, attacker)

  # Report
  hosts.first_alone(
    lambda: writing.report_folder(folder / "results", folder, Console(), config.diagnosis.to_dict())
  )
  progress.console.print(f"Done in {workdir.minutes(time.monotonic() - began)}; see {folder}")


def prepare(config, folder, mesh):
  """The data stage: release, records, tokenizer and the model that fits them, as a
  `stages.Setup`.
  """
  # Weights first: they are less to download than the data, and more can be wrong with them.
  for name in external_models.places(config):
    hosts.first_then_all(functools.partial(external_models.bring, config, folder, name))
  release = hosts.first_then_all(lambda: _open_or_generate(config, folder))
  known = None
  if config.imagenet:
    known = hosts.first_then_all(lambda: imagenet.open_source(config.imagenet))
  pairs, pairs_digest = _open_pairs(config, release)
  words = _make_tokenizer(config, folder, release)
  sizes = presets.PRESETS[config.model.preset]._replace(vocab_size=words.vocab_size)
  model = clip.CLIP(
    sizes,
    jnp.dtype(config.model.compute_dtype),
    config.model.remat,
    config.model.scan,
    config.model.logit_bias,
  )
  counts = release.counts | ({records.PAIRS_SPLIT: len(pairs)} if pairs else {})
  setup = stages.Setup(
    config, folder, mesh, release._replace(counts=counts), {}, words, model, known
  )._replace(retain_pairs=pairs_digest)
  _check_stages(setup)
  rows = hosts.first_then_all(lambda: _build_records(release, folder))
  known = known or zero_shot.of_release(release, rows)
  rows = rows | ({records.PAIRS_SPLIT: pairs} if pairs else {})
  return setup._replace(records=rows, zero_shot=known)


def _open_pairs(config, release):
  """Rows of config.retain_pairs and their digest; (None, "") where it is empty.

  Raises:
    InputError: the release has such rows of its own, or see `records.open_pairs`.
  """
  if not config.retain_pairs:
    return None, ""
  if not presets.PRESETS[config.model.preset].vocab_size:
    raise InputError(
      f"config.retain_pairs needs CLIP's whole vocabulary, and the preset {config.model.preset!r} "
      "takes that of its data. Choose another config.model.preset; vit_b16_narrow is the smallest."
    )
  for split in ("retain", records.PAIRS_SPLIT):
    if release.counts.get(split):
      raise InputError(
        f"config.retain_pairs would stand beside the split {split!r} of the release "
        f"{release.path}. Leave one of them out: pairs go with a release that has none of its own, "
        "as the published one."
      )
  return records.open_pairs(config.retain_pairs)


def _open_or_generate(config, folder):
  """The release that config.release names, or one made in the workdir."""
  if config.release:
    release = releases.open_release(
      config.release,
      training=config.training_release,
      known_hashes=folder / "release_hashes.json",
    )
    if not release.manifest:
      print_counts(release, progress.console)
    return release
  path = folder / "release"
  asked = {"seed": config.seed, **config.generate.to_dict()}
  del asked["workers"]
  workdir.run_stage(
    folder / "generate",
    "generate release",
    asked,
    lambda _: generator.generate(config.generate, config.seed, path),
  )
  return releases.open_release(path)


def _build_records(release, folder):
  began = time.monotonic()
  with progress.counting("building records", records.row_count(release)) as tick:
    rows = records.build(release, folder / "records", tick)
  progress.console.print(f"records: {workdir.minutes(time.monotonic() - began)}")
  return rows


def _make_tokenizer(config, folder, release):
  """CLIP's own; where the preset leaves its size open, that of given weights, or one compacted to
  the
  training texts."""
  sizes = presets.PRESETS[config.model.preset]
  if sizes.vocab_size:
    return tokenizers.clip_tokenizer(sizes.context_length)
  for name in stages.PRETRAINED:
    path = external_models.model_folder(config, folder, name) / "tokenizer.json"
    if config.init[name] and path.exists():
      return tokenizers.load(path)
  splits = pipeline.training_splits("compromised", release.shards)
  texts = [text for split in splits for text in releases.columns(release, split)["text"]]
  return tokenizers.compact_tokenizer(sizes.context_length, [*texts, *release.generic.values()])


def _check_stages(setup):
  """Raises InputError for what would stop a stage later, before anything is trained or
  evaluated.
  """
  config, counts = setup.config, setup.release.counts
  sharding.parameter_layout(clip.shapes(setup.model), setup.mesh, config.sharding)
  for name in external_models.places(config):
    external_models.check(config, setup.folder, name, setup.tokenizer)
    stages.load_params(setup, setup.model_folder(name))
  for name in [name for name in stages.PRETRAINED if name not in external_models.places(config)]:
    _check_trainable(setup, name)
    workdir.check_settings(setup.model_folder(name), stages.pretrain_settings(setup))
    rows = sum(counts[split] for split in setup.splits(name))
    check_rows("config.pretrain", config.pretrain.batch_size, name, rows)
  for name, run_ in config.unlearn.items():
    workdir.check_settings(setup.model_folder(name), stages.unlearn_settings(setup, name))
    _check_unlearning(setup, name, run_)
  _check_fragile(setup)
  attacks.check_data(config.attacks, setup.data)
  _check_judged_start(setup)


def _check_unlearning(setup, name, run_):
  """Raises InputError for a method that cannot be made, or lacks the data that it reads."""
  method = stages.make_method(setup, name)
  # Limits by name look for their parameters here.
  jax.eval_shape(lambda: method.tx.init(clip.init(setup.model, 0)))
  if method.surrogates:
    table = releases.columns(setup.release, "forget")
    rows = [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]
    known = surrogates.leaks(setup.release, rows).values()
    surrogates.maker(known, method.surrogates.source, setup.config.seed)
  for half in ("forget", "retain"):
    rows = sum(setup.release.counts[split] for split in setup.splits(half))
    if rows or half in method.reads:
      check_rows(f"config.unlearn.{name}", run_.batch_size, half, rows)


def _check_judged_start(setup):
  """Raises InputError for a judged model of another run that was not unlearned from our
  Compromised.
  """
  name = setup.config.judge.name
  if not name:
    return
  start = files.read_json(setup.model_folder(name) / workdir.SETTINGS).get("start")
  if start not in (None, stages.start_digest(setup)):
    raise InputError(
      f"config.judge.weights = {setup.config.judge.weights!r} was unlearned from another "
      "Compromised than this config's, so it would be judged against wrong bounds. Name that "
      "Compromised in config.init.compromised."
    )


def _check_fragile(setup):
  """Raises InputError for a release without a fragile set in a place where none can be added."""
  if hub.is_address(setup.config.release) and releases.read_fragile(setup.release) is None:
    raise InputError(
      f"The release {setup.release.name} has no {releases.FRAGILE}, and one on the hub is not "
      "completed here. Copy it to a directory and name that in config.release."
    )


def _check_trainable(setup, name):
  """Raises InputError unless the release has what the model is pretrained on."""
  needed = {"clean": [("retain_real", "retain")]}
  needed["compromised"] = [*needed["clean"], ("sensitive",)]
  for either in needed[name]:
    if not set(either) & set(setup.splits(name)):
      raise InputError(
        f"The release {setup.release.path} has no split {' or '.join(map(repr, either))}, so "
        f"{name.capitalize()} cannot be trained on it. Give weights in config.init.{name}, or name "
        "the directory with the training splits in config.training_release."
      )


def _finished(setup):
  """Whether every result is there, and a leaderboard that holds them."""
  judged = [setup.config.judge.name] if setup.config.judge.name else []
  names = [*stages.PRETRAINED, *setup.config.unlearn, *judged]
  if not all([judging.is_evaluated(setup, name) for name in names]):
    return False
  thresholds = setup.config.diagnosis.to_dict()
  return writing.is_current(setup.folder / "results", setup.folder, thresholds)


def _summarise(setup):
  """Prints what is about to happen."""
  config, counts = setup.config, setup.release.counts
  parameters = judging.parameter_count(setup)
  table = Table(title="salmu_jax", show_header=False, title_justify="left")
  table.add_row("workdir", str(setup.folder))
  table.add_row(
    "release", f"{setup.release.name} in {setup.release.path} ({setup.release.digest[:12]})"
  )
  table.add_row("rows", ", ".join(f"{split} {count:,}" for split, count in sorted(counts.items())))
  table.add_row(
    "model", f"{config.model.preset}, {parameters:,} parameters, {config.model.compute_dtype}"
  )
  table.add_row(
    "tokens", f"{setup.tokenizer.vocab_size:,} ids, {setup.tokenizer.context_length} a text"
  )
  devices = f"{setup.mesh.size} x {jax.devices()[0].device_kind}, {jax.process_count()} process(es)"
  table.add_row("devices", f"{devices}, mesh data={setup.mesh.size}")
  for name in stages.PRETRAINED:
    steps = stages.pretrain_schedule(setup, name).total_steps
    planned = f"{steps:,} steps of {config.pretrain.batch_size} pairs"
    if config.init[name]:
      table.add_row(f"weights of {name}", config.init[name])
    else:
      table.add_row(f"pretrain {name}", planned)
  for name, run_ in config.unlearn.items():
    planned = stages.unlearn_schedule(setup, name).total_steps
    table.add_row(
      f"unlearn {name}",
      f"{planned:,} steps of {run_.batch_size} + {run_.batch_size} pairs, budget {run_.budget:g}x",
    )
  if config.judge.name:
    table.add_row(f"judge {config.judge.name}", config.judge.weights)
  progress.console.print(table)
