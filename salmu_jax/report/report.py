"""The whole report on a folder of results: table, leaderboard, diagnosis and plots."""

import pathlib

from salmu_jax import files
from salmu_jax.errors import InputError
from salmu_jax.evaluate.diagnosis import THRESHOLDS
from salmu_jax.report import diagnoses, heatmap, leaderboard, plots
from salmu_jax.report import published as published_lib
from salmu_jax.report.results import read_results

FILES = (*plots.FILES, heatmap.FILE, *diagnoses.FILES, *leaderboard.FILES)


def report(results_dir, out_dir, console, thresholds=THRESHOLDS):
  """Reads the results, prints the table and writes leaderboard, diagnosis and plots.

  The published values are printed too where the models are judged on the published release.

  Args:
    results_dir: folder with one JSON a model.
    out_dir: another folder, made if it is missing.
    console: rich.console.Console.
    thresholds: of the verdicts, see `diagnosis.THRESHOLDS`.

  Returns:
    The paths written.

  Raises:
    InputError: see `read_results`; or the two folders are the same.
  """
  out_dir = pathlib.Path(out_dir)
  if pathlib.Path(results_dir).resolve() == out_dir.resolve():
    raise InputError(
      f"The report cannot go into {results_dir}, the folder of the results: leaderboard.json would "
      "be read as a model's results next time. Name another folder."
    )
  results = read_results(results_dir)
  table, found = leaderboard.rows(results, thresholds), diagnoses.diagnoses(results, thresholds)
  in_order = [row["model"] for row in table]
  found.sort(key=lambda each: in_order.index(each["model"]))
  # leaderboard.json comes last: where it is current, so is all the rest.
  paths = plots.draw(results, table, out_dir, thresholds)
  paths.append(plots.save(lambda: heatmap.breakdown(found), out_dir / heatmap.FILE))
  text, data = (out_dir / name for name in diagnoses.FILES)
  files.write_text(text, diagnoses.markdown(found, thresholds))
  files.write_json(data, {"thresholds": dict(thresholds), "models": found})
  paths += [text, data, *leaderboard.write(table, out_dir, results, thresholds)]
  leaderboard.show(table, console)
  published_lib.show_published(console, results[0]["salmu_jax"]["release"]["name"])
  return paths


def is_current(results_dir, out_dir, thresholds=THRESHOLDS):
  """Whether `out_dir` holds a whole report on just the results in `results_dir`."""
  out_dir = pathlib.Path(out_dir)
  if not all((out_dir / name).exists() for name in FILES):
    return False
  if files.read_json(out_dir / diagnoses.FILES[1])["thresholds"] != dict(thresholds):
    return False
  rows = leaderboard.rows(read_results(results_dir), thresholds)
  return files.read_json(out_dir / "leaderboard.json") == rows
