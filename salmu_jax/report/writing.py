"""The report on folders of results: table, leaderboard, diagnosis, statistics, plots, page."""

import os
from collections.abc import Mapping, Sequence

from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.report import (
  diagnoses,
  figures,
  heatmap,
  leaderboard,
  leaderboard_terminal,
  page,
  plots,
  published_table,
  statistics,
  statistics_text,
)
from salmu_jax.results.collecting import Table, collect, labels, results_folder
from salmu_jax.results.diagnosis import THRESHOLDS
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import files, places
from salmu_jax.runtime.places import Place

Folder = str | os.PathLike

FILES = (
  *plots.FILES,
  heatmap.FILE,
  *diagnoses.FILES,
  *statistics_text.FILES,
  page.FILE,
  *leaderboard.FILES,
)


def report_folder(
  results_dir: Folder,
  out_dir: Folder,
  console: Console,
  thresholds: Mapping[str, float] = THRESHOLDS,
) -> list[Place]:
  """Reads the results of one folder, prints the table and writes all of FILES.

  If the models are judged on the published release, the published values are printed too.

  Args:
    results_dir: folder with one JSON per model.
    out_dir: another folder, created if missing.
    console: rich.console.Console.
    thresholds: of the verdicts, see `diagnosis.THRESHOLDS`.

  Returns:
    The paths written.

  Raises:
    InputError: see `read_results`; or both folders are the same.
  """
  out_dir = _apart([results_dir], out_dir)
  results = read_results(results_dir)
  table = leaderboard.rows(results, thresholds)
  models = diagnoses.diagnoses(results, thresholds)
  in_order = [row["model"] for row in table]
  models.sort(key=lambda model: in_order.index(model["model"]))
  # diagnosis.json (with the thresholds) and leaderboard.json are written last: if they are current,
  # so are all other files.
  paths = plots.draw(results, table, out_dir, thresholds)
  paths.append(figures.save(lambda: heatmap.breakdown(models), out_dir / heatmap.FILE))
  text, data = (out_dir / name for name in diagnoses.FILES)
  tables = [Table(*labels([results]), results)]
  paths += _statistics_and_page(tables, [], out_dir, thresholds)
  files.write_text(text, diagnoses.markdown(models, thresholds))
  files.write_json(data, {"thresholds": dict(thresholds), "models": models})
  paths += [text, data]
  paths += leaderboard.write(table, out_dir, results, thresholds)
  leaderboard_terminal.show(table, console)
  published_table.show_published(console, results[0]["salmu_jax"]["release"]["name"])
  return paths


def report_folders(
  folders: Sequence[Folder],
  out_dir: Folder,
  console: Console,
  thresholds: Mapping[str, float] = THRESHOLDS,
) -> list[Place]:
  """Writes one page and one set of statistics for many folders.

  Results that are not comparable are grouped separately, or excluded with the reason.

  Args:
    folders: see `collecting.collect`. The other arguments are those of `report_folder`.

  Returns:
    The paths written.

  Raises:
    InputError: see `collecting.collect`; or no folder has results with both bounds.
  """
  out_dir = _apart(folders, out_dir)
  tables, left_out = collect(folders)
  for path, reason in left_out:
    console.print(f"left out: {path}: {reason}", markup=False, highlight=False)
  if not tables:
    raise InputError(
      f"{', '.join(map(str, folders))}: none of the {len(left_out)} results files can be judged "
      "between Clean and Compromised. Put the results of both in the same folder."
    )
  for table in tables:
    console.print(f"\n{table.label}", markup=False, highlight=False)
    leaderboard_terminal.show(leaderboard.rows(table.results, thresholds), console)
  return _statistics_and_page(tables, left_out, out_dir, thresholds)


def is_current(
  results_dir: Folder, out_dir: Folder, thresholds: Mapping[str, float] = THRESHOLDS
) -> bool:
  """Whether `out_dir` holds a complete report on exactly the results in `results_dir`."""
  out_dir = places.place(out_dir)
  if not all((out_dir / name).is_file() and places.size(out_dir / name) for name in FILES):
    return False
  rows = leaderboard.rows(read_results(results_dir), thresholds)
  try:
    before = files.read_object(out_dir / diagnoses.FILES[1], thresholds=dict)["thresholds"]
    return before == dict(thresholds) and files.read_json(out_dir / "leaderboard.json") == rows
  except InputError:  # damaged, so not current
    return False


def _apart(folders, out_dir):
  """`out_dir` as a path; raises InputError if results are read from it."""
  out_dir = places.place(out_dir)
  for folder in folders:
    if os.path.realpath(results_folder(folder)) == os.path.realpath(out_dir):
      raise InputError(
        f"The report cannot go into {out_dir}, the folder of the results: leaderboard.json would "
        "be read as a model's results next time. Name another folder."
      )
  return out_dir


def _statistics_and_page(tables, left_out, out_dir, thresholds):
  """Writes statistics.md, statistics.json and the page."""
  numbers = statistics.of_tables(tables)
  text, data = (out_dir / name for name in statistics_text.FILES)
  parts = [statistics_text.of_table(label, table) for label, table in numbers["tables"].items()]
  files.write_text(
    text, "\n".join([*parts, *map(statistics_text.over_seeds, numbers["over_seeds"])])
  )
  files.write_json(data, numbers)
  path = out_dir / page.FILE
  files.write_text(path, page.html(tables, numbers, left_out, thresholds))
  return [text, data, path]
