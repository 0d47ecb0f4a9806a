"""Kills runs of smoke at random moments, and reruns the same command to resume them:

  python -m experiments.fuzz.kills [--kills=100] [--workdir=gs://BUCKET/FOLDER]

When a run completes, its files are compared with those of an undisturbed run. One signal in four is
SIGTERM, after which the exit status has to be 143; the others are SIGKILL. In a bucket, one process
in four starts on a fresh machine, that is, with another cache folder. Counts go to kills.json.

A bucket on loopback: python tests/bucket.py python -m experiments.fuzz.kills --workdir=gs://bucket
"""

import argparse
import collections
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from salmu_jax.runtime import copies, files, places
from salmu_jax.runtime import workdir as workdir_files
from salmu_jax.train import PACE

RESULTS = pathlib.Path(__file__).with_name("kills.json")
ROOT = pathlib.Path(__file__).parents[2]
LIMIT = 600  # seconds after which a run counts as a hang
# Files that depend on time; the digest of weights in the results stands for them.
_TIMED = re.compile(r"(^|/)(times\.json|\.lock|params|checkpoints|events\.out|tensorboard|profile)")
_NO_CONTENT = ("seconds", *PACE)


def command(workdir: str, cache: pathlib.Path) -> list[str]:
  """The command of a run: one method of smoke, with all attacks."""
  return [
    *(sys.executable, "main.py", "--config=configs/smoke.py:finetune"),
    *(f"--workdir={workdir}", f"--config.compilation_cache={cache}"),
  ]


def life(words: list[str], environment: dict[str, str], seconds: float, number: int) -> tuple:
  """(exit status, output) of a process that gets a signal after some seconds."""
  process = subprocess.Popen(
    words,
    cwd=ROOT,
    env=environment,
    text=True,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
  )
  try:
    said, _ = process.communicate(timeout=seconds)
  except subprocess.TimeoutExpired:
    process.send_signal(number)
    said, _ = process.communicate(timeout=LIMIT)
  return process.returncode, said


def stage(said: str) -> str:
  """The stage that a run had reached, from its output."""
  begun = re.findall(r"^(generate release|pretrain \w+|unlearn \w+|evaluate \w+)", said, re.M)
  return begun[-1] if begun else "start"


def content(workdir: pathlib.Path) -> dict[str, Any]:
  """{file: content} of a workdir: JSON without times, other files as hashes."""
  left = {}
  for path in sorted(workdir.rglob("*")):
    name = str(path.relative_to(workdir))
    if not path.is_file() or _TIMED.search(name):
      continue
    if path.suffix == ".json":
      left[name] = _timeless(json.loads(path.read_text()))
      if path.name == workdir_files.DONE:
        left[name].pop("digest")  # of done.json itself, whose seconds differ
    elif path.suffix == ".jsonl":
      left[name] = [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    elif path.suffix not in (".html", ".md", ".txt", ".log"):
      left[name] = files.sha256(path)
  return left


def _timeless(value):
  if isinstance(value, list):
    return [_timeless(item) for item in value]
  if not isinstance(value, dict):
    return value
  return {k: _timeless(v) for k, v in value.items() if not k.endswith(_NO_CONTENT)}


def _difference(one, other, path=""):
  """The path of the first difference of two values, and the values there."""
  if isinstance(one, dict) and isinstance(other, dict):
    for key in sorted(one.keys() | other.keys()):
      if one.get(key) != other.get(key):
        return _difference(one.get(key), other.get(key), f"{path}.{key}")
  if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
    for number, pair in enumerate(zip(one, other, strict=True)):
      if pair[0] != pair[1]:
        return _difference(*pair, f"{path}.{number}")
  return f"{path}: {str(one)[:80]}, {str(other)[:80]}"


class Study:
  """A series of killed runs, and their outcomes.

  Args:
    home: folder or bucket of the workdirs.
    disk: folder for scratch and caches.
    seed: of all draws.
  """

  def __init__(self, home: str, disk: pathlib.Path, seed: int):
    self._home, self._disk = home, disk
    self._rng = np.random.default_rng(seed)
    self._expected: dict[str, Any] = {}
    self._seconds = 0.0  # of an undisturbed run
    self._run, self._machine = 0, 0
    self.counts, self.stages = collections.Counter(), collections.Counter()
    self.different: list[str] = []

  def begin(self) -> None:
    """Makes the undisturbed run twice: the first compiles, the second is timed."""
    for _ in range(2):
      began = time.monotonic()
      status, said = life(self._command("whole"), self._environment(), LIMIT, signal.SIGKILL)
      self._seconds = time.monotonic() - began
      if status:
        raise SystemExit(f"The undisturbed run ended with {status}:\n{said}")
      self._expected = self._left("whole")

  def go_on(self) -> None:
    """Starts the current run once more; if it completes, compares its files."""
    name, soft = f"run-{self._run}", self._rng.random() < 0.25
    if self._rng.random() < 0.25:
      self._machine += places.is_remote(places.place(self._home))
    seconds = self._rng.uniform(0, self._seconds)
    number = signal.SIGTERM if soft else signal.SIGKILL
    status, said = life(self._command(name), self._environment(), seconds, number)
    if status == 0:
      self._finish(name)
    elif status in (-number, 143):  # 143 is the exit status after SIGTERM
      self.counts[number.name] += 1
      self.stages[stage(said)] += 1
    else:
      self.counts["bad ends"] += 1
      self.different.append(f"status {status}: {said[-1500:]}")
      print(self.different[-1], flush=True)

  @property
  def kills(self) -> int:
    """The number of processes that did not complete."""
    return self.counts["SIGTERM"] + self.counts["SIGKILL"] + self.counts["bad ends"]

  def entry(self) -> dict[str, Any]:
    """The study's entry in kills.json."""
    keys = ("SIGKILL", "SIGTERM", "bad ends", "ended", "equal")
    counts = {key: self.counts[key] for key in keys}
    by_stage = dict(sorted(self.stages.items()))
    return {"kills": self.kills, **counts, "by_stage": by_stage, "different": self.different}

  def _finish(self, name):
    left = self._left(name)
    names = left.keys() | self._expected.keys()
    other = sorted(file for file in names if left.get(file) != self._expected.get(file))
    self.counts["ended"] += 1
    self.counts["equal"] += not other
    for file in other:
      where = _difference(self._expected.get(file), left.get(file))
      self.different.append(f"{name}: {file}{where}")
      print(self.different[-1], flush=True)
    self._run += 1

  def _left(self, name):
    """The content of a workdir; then removes it."""
    place = places.place(f"{self._home}/{name}")
    there = copies.on_disk(place, self._disk / "compared", "the workdir")
    left = content(pathlib.Path(there))
    if places.is_remote(place):
      left = {file: value for file, value in left.items() if not _is_scratch(file)}
      place.rmtree()
    else:
      left = {file: value for file, value in left.items() if not _is_scratch(file)}
      shutil.rmtree(place)
    return left

  def _command(self, name):
    return command(f"{self._home}/{name}", self._disk / "programs")

  def _environment(self):
    return {**os.environ, "XDG_CACHE_HOME": str(self._disk / f"machine-{self._machine}")}


def _is_scratch(file):
  """Whether a file exists only in a workdir on a disk, not in a bucket."""
  first = file.split("/")[0]
  return first in ("records", "stored_pictures", "kept", "separation.json", "release_hashes.json")


def section() -> str:
  """The README's table."""
  heads = ("kills", "of these SIGTERM", "completed runs", "with identical files", "failed exits")
  lines = [f"| workdir | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
  for place, entry in files.read_json(RESULTS).items():
    numbers = [entry[key] for key in ("kills", "SIGTERM", "ended", "equal", "bad ends")]
    lines.append(f"| {place} | {' | '.join(map(str, numbers))} |")
  return "\n".join([*lines, ""])


def main() -> None:
  """Kills runs and writes the outcomes."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--kills", type=int, default=100)
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--workdir", default="", help="a bucket; default: a folder on the disk")
  args = parser.parse_args()
  began = time.monotonic()
  place = "a bucket" if args.workdir else "a disk"
  with tempfile.TemporaryDirectory() as folder:
    disk = pathlib.Path(folder)
    study = Study(args.workdir or str(disk / "runs"), disk, args.seed)
    study.begin()
    # At least one run has to complete.
    while study.kills < args.kills or study.counts["ended"] == 0:
      study.go_on()
      print(study.kills, dict(study.counts), flush=True)
      entry = {**study.entry(), "seconds": round(time.monotonic() - began)}
      before = files.read_json(RESULTS) if RESULTS.exists() else {}
      files.write_json(RESULTS, {**before, place: entry})


if __name__ == "__main__":
  main()
