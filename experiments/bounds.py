"""Pretrains and evaluates Clean and Compromised, for studies of data, recipes and seeds."""

import argparse
import os
import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from salmu_jax.benchmark import configuration, evaluation, opening, run, stages
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files, sharding


def judged(
  config: ConfigDict, shared: pathlib.Path, own: pathlib.Path
) -> dict[str, tuple[dict, float]]:
  """Pretrains and evaluates both models on one device, without attacks.

  Args:
    config: of the run; its `release` may be empty.
    shared: folder for release, records and decoded pictures; missing ones are made.
    own: folder for the two models; killed pretraining resumes from it.

  Returns:
    {"clean", "compromised": (results, seconds of training)}.
  """
  config.tensorboard, config.attacks.names = False, ()
  if not config.release and (shared / "release").exists():
    config.release = str(shared / "release")
  mesh = sharding.make_mesh(jax.devices()[:1])
  configuration.check(config, mesh)
  job, data = run.prepare(config, shared, mesh)
  data = opening.store_pictures(job, data)
  job = job._replace(workdir=own)
  params = {model: stages.pretrain(job, data, model) for model in stages.PRETRAINED}
  evaluator = evaluation.make_evaluator(job, data)
  evaluation.store_fragile_set(data, evaluator, params["compromised"])
  seconds = lambda model: files.read_json(job.model_folder(model) / "done.json")["seconds"]
  return {model: (evaluator.run(params[model], model), seconds(model)) for model in params}


def main(
  argv: list[str] | None,
  module: str,
  path: pathlib.Path,
  kind: str,
  names: Iterable[str],
  outcome: Callable[[pathlib.Path, str], Any],
) -> None:
  """The command line of a study: WORKDIR, and --only to run some of the names.

  Args:
    argv: arguments; None for those of the process.
    module: of the study, for the help text.
    path, kind, names: see `keep_missing`.
    outcome: outcome(workdir, name) -> the entry to store.
  """
  parser = argparse.ArgumentParser(prog=f"python -m {module}")
  parser.add_argument("workdir", type=pathlib.Path, help="folder for releases and models")
  listed = f"{kind}, of {', '.join(names)}; default: all".replace("%", "%%")
  parser.add_argument("--only", nargs="*", choices=list(names), metavar="NAME", help=listed)
  args = parser.parse_args(argv)
  workdir = args.workdir.absolute()
  keep_missing(path, kind, args.only or names, lambda name: outcome(workdir, name))


def table(path: pathlib.Path, kind: str, head: str, keys: Sequence[str]) -> str:
  """The README's table: a row for each name and model, with the scores `keys` and seconds."""
  if not path.exists():
    return "Not run yet.\n"
  record = files.read_json(path)
  lines = [[head, "model", *keys, "seconds"], ["---", "---", *["---:"] * (len(keys) + 1)]]
  for name, models in record[kind].items():
    for model, entry in models.items():
      scores = [f"{entry[key]:.3f}" for key in keys]
      lines.append([name, f"`{model}`", *scores, f"{entry['seconds']:.0f}"])
  return f"{md.table(lines)}\n{record['cores']} CPU cores.\n"


def keep_missing(
  path: pathlib.Path, kind: str, names: Iterable[str], outcome: Callable[[str], Any]
) -> None:
  """Runs every name that the JSON file lacks, and writes the file after each.

  Args:
    path: of the file {"cores", kind: {name: entry}}.
    kind: what the names are, such as "recipes".
    names: that the file should hold.
    outcome: outcome(name) -> the entry to store.
  """
  jax.config.update("jax_platforms", "cpu")
  record = files.read_json(path) if path.exists() else {"cores": os.cpu_count(), kind: {}}
  for name in names:
    if name not in record[kind]:
      record[kind][name] = outcome(name)
      files.write_json(path, record)
