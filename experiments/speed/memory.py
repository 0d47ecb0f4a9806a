"""Peak memory of an evaluation: python -m experiments.speed.memory WORKDIR

Evaluates `tiny` with fresh weights and all ten metrics, on generated releases of 20,000 and of some
77,000 pairs (60,372 of them sensitive, as many as in the published release). Each release has a
process of its own, with pictures already decoded, as in a run. The baseline is the memory before
embedding. Takes some ten minutes on two cores, mostly for the releases. Writes memory.json.
"""

import argparse
import concurrent.futures
import multiprocessing
import pathlib
import resource

from experiments.speed import evaluation
from salmu_jax.report import markdown as md
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "memory.json"
SIZES = (
  evaluation.DATA,
  evaluation.DATA
  | {"people": 774, "images_per_person": 78, "retain_synth": 16741, "retain_joint": 749},
)


def main(argv=None):
  """Measures every size."""
  parser = argparse.ArgumentParser(prog="python -m experiments.speed.memory")
  parser.add_argument("workdir", type=pathlib.Path, help="folder for the releases; reused later")
  workdir = parser.parse_args(argv).workdir.absolute()
  record = []
  for sizes in SIZES:
    folder = workdir / f"{sizes['people']}x{sizes['images_per_person']}"
    _apart(_prepare, folder, sizes)
    record.append(_apart(_measure, folder, sizes))
    files.write_json(RESULTS, record)


def _apart(work, *args):
  """Runs a function in a new process and returns its result."""
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(1, context) as pool:
    return pool.submit(work, *args).result()


def _prepare(folder, sizes):
  evaluation.Data(folder, sizes)


def _measure(folder, sizes):
  data = evaluation.Data(folder, sizes)
  before = _peak()
  data.later()
  rows = sum(data.release.counts[split] for split in ("sensitive", "retain_synth"))
  return {"pairs": rows, "before": before, "peak": _peak()}


def _peak():
  """The peak memory of this process, in bytes."""
  return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def section(path=RESULTS):
  """The README's table: a row for each release."""
  lines = [["pairs", "GiB before the evaluation", "peak GiB"], ["---:", "---:", "---:"]]
  for row in files.read_json(path):
    gib = (f"{row[key] / 2**30:.2f}" for key in ("before", "peak"))
    lines.append([f"{row['pairs']:,}", *gib])
  return md.table(lines)


if __name__ == "__main__":
  main()
