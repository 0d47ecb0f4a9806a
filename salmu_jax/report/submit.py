"""`python -m salmu_jax.report submit RESULTS.json --to=FOLDER`: adds a model to a leaderboard."""

import argparse
import collections
import os
import pathlib
import shlex
import sys
import tempfile
from collections.abc import Sequence

from salmu_jax.errors import InputError
from salmu_jax.report import leaderboard
from salmu_jax.results import diagnosis, row_checks, schema, strict
from salmu_jax.results.lookup import flatten
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import files, places
from salmu_jax.runtime.places import Place

_SHOWN = 5  # lines shown of a problem that many entries of a list share


def main(argv: Sequence[str] | None = None) -> int:
  """Adds a file to a leaderboard; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m salmu_jax.report submit", description=__doc__)
  parser.add_argument("results", metavar="RESULTS.json", help="results file of an unlearned model")
  parser.add_argument(
    "--to", metavar="FOLDER", required=True, help="the leaderboard: a folder of results files"
  )
  args = parser.parse_args(argv)
  try:
    path = submit(args.results, args.to)
    print(f"Added {path}.\n{_standing(path)}")
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  print(f"Its page: python -m salmu_jax.report {shlex.quote(args.to)} --out=OUT_DIR")
  return 0


def submit(path: str | os.PathLike, folder: str | os.PathLike) -> Place:
  """Adds the results of an unlearned model to a leaderboard, under the model's name.

  Numbers must follow from the rows in the file; rows and evaluation must be those of Clean and
  Compromised in the folder. A results file cannot prove the scores of its rows or its provenance;
  both are trusted.

  Args:
    path: the results file, see `salmu_jax.results.schema`.
    folder: holds the results files, including those of Clean and Compromised.

  Returns:
    The path of the file added.

  Raises:
    InputError: the file has problems, listed one per line, or the folder cannot be written;
      nothing was written.
  """
  path, folder = places.place(path, "RESULTS"), places.place(folder, "--to")
  result, others, problems = strict.read(path), [], {}
  try:
    others = read_results(folder)
  except InputError as error:
    problems[str(folder),] = f"no leaderboard to add to; {error}"
  problems |= _unfit_bounds(folder, others[:2])
  compromised = None if problems else others[1]
  taken = {other["salmu_jax"]["model"].casefold() for other in others}
  taken |= {file.stem.casefold() for file in folder.glob("*") if file.suffix.casefold() == ".json"}
  problems |= row_checks.problems(result, compromised, taken)
  problems = problems or _other_scores(result, others)
  if problems:
    count = f"{len(problems)} problem{'s' * (len(problems) > 1)}"
    head = f"{path} is not added to {folder}, for {count}:"
    raise InputError("\n".join([head, *_lines(problems)]))
  return _add(result, folder)


def _other_scores(result, others):
  """The problem that a model on the leaderboard has the same weights but other scores."""
  weights = result["salmu_jax"]["weights_sha256"]
  for other in others:
    about = other["salmu_jax"]
    if about["weights_sha256"] == weights and flatten(other) != flatten(result):
      return {
        ("salmu_jax", "weights_sha256"): (
          f"is that of {about['model']}, which has other scores; should be of the judged weights"
        )
      }
  return {}


def _unfit_bounds(folder, bounds):
  """The first problem of each bound with an invalid results file, such as an older version's."""
  problems = {}
  for bound in bounds:
    name = bound["salmu_jax"]["model"]
    for path, words in schema.invalid(bound):
      problems[f"{folder}, {name}", *path] = (
        f"{words}. Evaluate {name} with this version and put its results there"
      )
      break
  return problems


def _add(result, folder):
  """Writes the file atomically; never overwrites another."""
  target = folder / f"{result['salmu_jax']['model']}.json"
  remote = places.is_remote(folder)
  try:
    with tempfile.TemporaryDirectory(
      prefix=".submitted-", dir=None if remote else folder
    ) as staging:
      staged = pathlib.Path(staging)
      for other in folder.glob("*.json"):
        (staged / other.name).write_bytes(other.read_bytes())
      files.write_json(staged / target.name, result)
      read_results(staged)
      if remote:
        # Buckets have no link that fails if the file exists, so simultaneous submissions can clash.
        if target.exists():
          raise FileExistsError(target)
        places.put(staged / target.name, target)
      else:
        os.link(staged / target.name, target)
  except FileExistsError as error:
    raise InputError(f"{target} was created in the meantime; nothing was replaced.") from error
  except OSError as error:
    raise InputError(
      f"Cannot write {target}: {error.strerror}. Nothing was changed. Choose a writable folder."
    ) from error
  return target


def _standing(path):
  """The rank and the verdicts of a model on a leaderboard, in words."""
  results = read_results(path.parent)
  rows = {row["model"]: row for row in leaderboard.rows(results)[2:]}
  values = {result["salmu_jax"]["model"]: flatten(result) for result in results}
  clean, compromised = list(values.values())[:2]
  words = diagnosis.obstacle(values[path.stem], clean, compromised) or diagnosis.describe(
    diagnosis.diagnose(values[path.stem], clean, compromised)
  )
  place = list(rows).index(path.stem) + 1
  where = f"{path.stem} ranks {place} of {len(rows)} unlearned models"
  strict = rows[path.stem]["strict_verdict"]
  return f"{where}. {words[0].upper()}{words[1:]}. Strict verdict: {strict}."


def _lines(problems):
  """One line per problem; for problems of one list, only the first few."""
  alike = collections.defaultdict(list)
  for path, words in problems.items():
    kind = tuple(None if isinstance(key, int) else key for key in path)
    alike[kind].append(f"{schema.dotted(path)}: {words}")
  for lines in alike.values():
    yield from lines[:_SHOWN]
    if len(lines) > _SHOWN:
      yield f"(and {len(lines) - _SHOWN} more like these)"
