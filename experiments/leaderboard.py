"""The leaderboard of mini with everything that was submitted: python -m experiments.leaderboard

Checks every file of leaderboard/submissions against the kept Clean and Compromised, as
`python -m salmu_jax.report submit` does, and writes the report to build/leaderboard.
"""

import pathlib
import shutil
import sys

from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.report import submit, writing

ROOT = pathlib.Path(__file__).parents[1]
KEPT = ROOT / "experiments" / "mini" / "results"
SUBMISSIONS = ROOT / "leaderboard" / "submissions"
OUT = ROOT / "build" / "leaderboard"


def build(submissions: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
  """Writes the report on the kept results of mini and all submissions.

  Args:
    submissions: folder of results files, each named after its model; it may be empty.
    out: folder of the report. Its folder `results` is written anew.

  Returns:
    The folder with all results.

  Raises:
    InputError: the problems of every submission that is refused; no report was written.
  """
  results = out / "results"
  shutil.rmtree(results, ignore_errors=True)
  shutil.copytree(KEPT, results)
  problems = [_add(path, results) for path in sorted(submissions.glob("[!.]*"))]
  if any(problems):
    raise InputError("\n".join(filter(None, problems)))
  writing.report_folder(results, out, Console())
  return results


def _add(path, results):
  """What is wrong with a submission, which is added if nothing is."""
  try:
    added = submit.submit(path, results)
  except InputError as error:
    return str(error)
  if added.name != path.name:
    return f"{path} holds the model {added.stem!r}; name the file {added.name}."
  return ""


if __name__ == "__main__":
  try:
    build(SUBMISSIONS, OUT)
  except InputError as error:
    sys.exit(f"error: {error}")
  print(f"Written to {OUT}: leaderboard.html, leaderboard.md and the other files of a report.")
