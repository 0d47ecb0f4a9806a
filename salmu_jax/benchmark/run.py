"""The benchmark from nothing to a leaderboard, in time order; each stage skips what is done."""

import contextlib
import os
import time

from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.benchmark import (
  audit,
  configuration,
  evaluation,
  footprint,
  opening,
  preflight,
  stages,
  summary,
)
from salmu_jax.benchmark.job import Job
from salmu_jax.data import dataset, records, zero_shot
from salmu_jax.data.dataset import Data
from salmu_jax.errors import InputError
from salmu_jax.models import presets
from salmu_jax.report import leaderboard, leaderboard_terminal, writing
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import (
  compilations,
  files,
  hosts,
  owner,
  places,
  progress,
  sharding,
  times,
  workdir,
)
from salmu_jax.runtime.places import Place

CONFIG = "config.json"  # of the last run in a workdir, every field


def run(
  config: ConfigDict,
  folder: str | os.PathLike,
  stop: hosts.Stop | None = None,
  profile: tuple[int, int] | None = None,
) -> None:
  """Runs the benchmark that `config` describes.

  Args:
    config: a ConfigDict with the schema of salmu_jax/defaults.py.
    folder: the workdir, on a disk or in a bucket. A second run resumes where the first ended, and
      does nothing where the first had finished. All processes of a run see the same folder.
    stop: ends training between two steps when SIGTERM comes; or None.
    profile: the first and the last training step that are traced, in every stage; or None.

  Raises:
    InputError: bad input, named, before anything is computed with it.
  """
  began = time.monotonic()
  folder = _workdir(folder)
  mesh = sharding.make_mesh()
  configuration.check(config, mesh)
  config = opening.with_preset(configuration.chosen(config), folder)
  compilations.start(config.compilation_cache)
  with owner.owning(folder) if hosts.is_first() else contextlib.nullcontext():
    workdir.check_folders(folder)
    if hosts.is_first():
      files.remove_unfinished(folder)
    hosts.check_same("config or workdir", files.digest([str(folder), config.to_dict()]))
    times.recorder.begin(folder)
    job, data = prepare(config, folder, mesh, stop)
    finished, show = (audit.is_finished, audit.show) if config.forget else _BENCHMARK
    if finished(job, data):
      progress.console.print(f"Nothing to do: every stage in {folder} is done.")
      show(job)
      return
    if hosts.is_first():
      files.write_json(folder / CONFIG, config.to_dict())
    progress.console.print(summary.table(job, data))
    job = job._replace(profile=profile)
    if config.forget:
      audit.run(job, data)
    else:
      _make_models(job, data)
      hosts.first_alone(lambda: _report(job))
  progress.console.print(f"Done in {progress.duration(time.monotonic() - began)}; see {folder}")


def _workdir(folder: str | os.PathLike) -> Place:
  """The place of a workdir.

  Raises:
    InputError: it is none, or has a character that Orbax takes for a wildcard.
  """
  wild = sorted(set("*?[") & set(os.fspath(folder)))
  if wild:
    raise InputError(
      f"--workdir={folder} has {' and '.join(wild)}, which Orbax takes for a wildcard. Choose "
      "another name."
    )
  return places.place(folder, "--workdir")


def _make_models(job: Job, data: Data) -> None:
  """Pretrains, unlearns, evaluates and attacks all models of a job that are not there yet."""
  config = job.config
  data = opening.store_pictures(job, data)
  evaluator = evaluation.make_evaluator(job, data)
  params = {name: stages.pretrain(job, data, name) for name in stages.PRETRAINED}
  evaluation.store_fragile_set(data, evaluator, params["compromised"])
  attack = evaluation.make_attacker(job, data, evaluator, params)
  for name in stages.PRETRAINED:
    evaluation.evaluate(job, data, evaluator, name, params[name], attack)

  for name in config.unlearn:
    unlearned = stages.unlearn(job, data, name, params["compromised"], evaluator.embed_pictures)
    evaluation.evaluate(job, data, evaluator, name, unlearned, attack)
  if config.judge.name:
    judged = stages.load_params(job, job.model_folder(config.judge.name))
    evaluation.evaluate(job, data, evaluator, config.judge.name, judged, attack)


def prepare(
  config: ConfigDict, folder: Place, mesh: Mesh, stop: hosts.Stop | None = None
) -> tuple[Job, Data]:
  """The data stage: opens or makes the data, and checks that every later stage can be run on it.

  Args:
    config: one that has passed `configuration.check`.
    folder: the workdir.
    mesh: the devices.
    stop: see `run`.

  Raises:
    InputError: the data cannot be read, or do not suit the config.
  """
  # What is there already comes before what has to be made or is long to download, and weights come
  # first: more can be wrong with them.
  footprint.check_memory(config, folder, mesh)
  scratch = opening.make_scratch(config, folder)
  opening.bring_weights(config, folder, scratch)
  classes = opening.open_imagenet(config, scratch)
  pairs, pairs_digest = opening.open_pairs(config, scratch)
  pair_rows = {records.PAIRS_SPLIT: pairs} if pairs else {}
  pair_counts = {split: len(rows) for split, rows in pair_rows.items()}
  check_rows = lambda counts: preflight.check_rows(config, {**counts, **pair_counts})
  release = opening.open_release(config, folder, scratch, check_rows)
  if pairs:
    preflight.check_pairs(config, release)
  config = audit.possible(config, release) if config.forget else config
  opening.check_separation(release, pairs, pairs_digest, scratch)
  tokenizer = opening.make_tokenizer(config, folder, release)
  model = presets.make_model(config.model, tokenizer.vocab_size)
  job = Job(config, folder, scratch, mesh, model, stop)

  whole = release._replace(counts={**release.counts, **pair_counts})
  preflight.check(job, whole, tokenizer, dataset.digests(release, pairs_digest))

  rows = opening.open_records(release, scratch)
  classes = classes or zero_shot.of_release(release, rows)
  return job, Data(whole, rows | pair_rows, tokenizer, classes, pairs_digest)


def _is_finished(job: Job, data: Data) -> bool:
  """Whether every result is there, and a leaderboard that holds them."""
  judged = [job.config.judge.name] if job.config.judge.name else []
  names = [*stages.PRETRAINED, *job.config.unlearn, *judged]
  if not all([evaluation.is_evaluated(job, data, name) for name in names]):
    return False
  return writing.is_current(job.workdir / "results", job.workdir, job.config.diagnosis.to_dict())


def _report(job: Job) -> None:
  """Writes the report, and shows how long all took, then the leaderboard."""
  began, console = time.monotonic(), progress.terminal()
  with console.capture() as leaderboard_shown:
    writing.report_folder(
      job.workdir / "results", job.workdir, console, job.config.diagnosis.to_dict()
    )
  times.recorder.done("report", time.monotonic() - began)
  progress.console.print(times.recorder.table())
  print(leaderboard_shown.get(), end="")


def _show_leaderboard(job: Job) -> None:
  results = read_results(job.workdir / "results")
  if hosts.is_first():
    leaderboard_terminal.show(
      leaderboard.rows(results, job.config.diagnosis.to_dict()), progress.terminal()
    )


# Whether a run is finished, and what it then shows.
_BENCHMARK = (_is_finished, _show_leaderboard)
