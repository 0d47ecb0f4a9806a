"""The benchmark from data to leaderboard, in time order; finished stages are skipped."""

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
  provenance,
  stages,
  summary,
)
from salmu_jax.benchmark.job import Job
from salmu_jax.data import dataset, records, releases, zero_shot
from salmu_jax.data.dataset import Data
from salmu_jax.models import presets
from salmu_jax.report import leaderboard, leaderboard_terminal, writing
from salmu_jax.results import reading
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
  written,
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
    folder: the workdir, on a disk or in a bucket. A rerun resumes an unfinished run, and does
      nothing after a finished one. All processes of a run must see the same folder.
    stop: stops training between two steps on SIGTERM; or None.
    profile: the first and the last training step to trace, in every stage; or None.

  Raises:
    InputError: names bad input before anything is computed with it.
  """
  began = time.monotonic()
  folder = places.folder(folder, "--workdir")
  mesh = sharding.make_mesh()
  configuration.check(config, mesh)
  config = opening.with_preset(configuration.chosen(config), folder)
  compilations.start(config.compilation_cache)
  with owner.owning(folder) if hosts.is_first() else contextlib.nullcontext():
    workdir.check_layout(folder, (CONFIG, times.FILE, written.FILE, *writing.FILES))
    if hosts.is_first():
      files.remove_unfinished(folder)
    hosts.check_same("config or workdir", files.digest([str(folder), config.to_dict()]))
    times.recorder.begin(folder)
    job, data = prepare(config, folder, mesh, stop)
    finished, show = (audit.is_finished, audit.show) if config.forget else _BENCHMARK
    # One answer for all processes: a bucket may show them different files for a while.
    if hosts.flag_of_first(finished(job, data)):
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


def _make_models(job: Job, data: Data) -> None:
  """Pretrains, unlearns, evaluates and attacks all missing models of a job."""
  config = job.config
  about = provenance.compared(job, data)
  reading.check_others(job.workdir / "results", _names(job), about)
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
  """The data stage: opens or makes the data, and checks that every later stage can run on it.

  Args:
    config: one that has passed `configuration.check`.
    folder: the workdir.
    mesh: the devices.
    stop: see `run`.

  Raises:
    InputError: the data cannot be read, or do not suit the config.
  """
  # Existing inputs are checked before anything is generated or downloaded at length. Weights come
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
  preflight.check_captions(config, release)
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
  """Whether every result exists, and a leaderboard that holds them."""
  if releases.read_fragile(data.release) is None:
    return False  # the release was deleted and generated again; results name its fragile set
  names = _names(job)
  if not all([evaluation.is_evaluated(job, data, name) for name in names]):
    return False
  if not all([evaluation.is_exported(job, name) for name in names]):
    return False
  if written.changed(job.workdir, writing.FILES):
    return False
  return writing.is_current(job.workdir / "results", job.workdir, job.config.diagnosis.to_dict())


def _names(job: Job) -> list[str]:
  """The models that a run evaluates."""
  judged = [job.config.judge.name] if job.config.judge.name else []
  return [*stages.PRETRAINED, *job.config.unlearn, *judged]


def _report(job: Job) -> None:
  """Writes the report, and prints the table of times and the leaderboard."""
  began, console = time.monotonic(), progress.terminal()
  with console.capture() as leaderboard_shown:
    writing.report_folder(
      job.workdir / "results", job.workdir, console, job.config.diagnosis.to_dict()
    )
  written.note(job.workdir, writing.FILES)
  times.recorder.done("report", time.monotonic() - began)
  progress.console.print(times.recorder.table())
  print(leaderboard_shown.get(), end="")


def _show_leaderboard(job: Job) -> None:
  results = reading.read_results(job.workdir / "results")
  if hosts.is_first():
    leaderboard_terminal.show(
      leaderboard.rows(results, job.config.diagnosis.to_dict()), progress.terminal()
    )


# Whether a run is finished, and what it then shows.
_BENCHMARK = (_is_finished, _show_leaderboard)
