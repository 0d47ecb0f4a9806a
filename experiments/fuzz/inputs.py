"""Runs the program on randomly damaged inputs: python -m experiments.fuzz.inputs [--count=N]

Every input has to be accepted, or refused with an InputError. inputs.json gets the counts by
family, and the first examples of every other outcome.
"""

import argparse
import collections
import pathlib
import resource
import signal
import tempfile
import time
import traceback
from typing import Any

import hypothesis

from experiments.fuzz import world as worlds
from experiments.fuzz.families import FAMILIES, Family
from experiments.fuzz.world import World
from salmu_jax.errors import InputError
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).with_name("inputs.json")
LIMIT = 30  # seconds after which an input counts as a hang
OUTCOMES = ("accepted", "refused", "traceback", "hang", "silent")
_SHOWN = 5  # stored examples of each family


class Hung(BaseException):
  """An input took longer than LIMIT."""


def outcome(world: World, family: Family, case: Any) -> tuple[str, str]:
  """(one of OUTCOMES, reason) of one input."""

  def give_up(number, frame):
    raise Hung

  before = signal.signal(signal.SIGALRM, give_up)
  signal.alarm(LIMIT)
  try:
    wrong = family.run(world, case)
    return ("silent", wrong) if wrong else ("accepted", "")
  except InputError as error:
    return "refused", str(error)
  except Hung:
    return "hang", ""
  except Exception:  # a user would see this as a traceback, which is what the fuzz looks for
    return "traceback", traceback.format_exc(limit=-3)
  finally:
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def run(world: World, name: str, count: int, seed: int = 0) -> dict[str, Any]:
  """The counts of a family, and its first bad examples.

  Args:
    world: of valid inputs.
    name: of the family, a key of FAMILIES.
    count: of inputs.
    seed: of the draws.
  """
  family, outcomes, examples = FAMILIES[name], collections.Counter(), []

  @hypothesis.seed(seed)
  @hypothesis.settings(
    max_examples=count,
    database=None,
    deadline=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
  )
  @hypothesis.given(family.cases(world))
  def try_one(case):
    found, why = outcome(world, family, case)
    outcomes[found] += 1
    if found not in ("accepted", "refused") and len(examples) < _SHOWN:
      examples.append({"outcome": found, "input": repr(case)[:400], "why": why[-1500:]})
    tick()

  with progress.counting(name, count) as tick:
    try_one()
  return {**{key: outcomes[key] for key in OUTCOMES}, "examples": examples}


def section() -> str:
  """The README's table."""
  kept = files.read_json(RESULTS)
  heads = ("inputs", *OUTCOMES)
  lines = [f"| family | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
  for name, counts in {**kept["families"], "all": kept["all"]}.items():
    numbers = [sum(counts[key] for key in OUTCOMES), *(counts[key] for key in OUTCOMES)]
    lines.append(f"| {name} | {' | '.join(f'{number:,}' for number in numbers)} |")
  return "\n".join([*lines, ""])


def main() -> None:
  """Runs all families and writes their counts."""
  parser = argparse.ArgumentParser(description=__doc__)
  parser.add_argument("--count", type=int, default=2000, help="total number of inputs")
  parser.add_argument("--seed", type=int, default=0)
  parser.add_argument("--family", choices=list(FAMILIES), help="run one family; writes nothing")
  args = parser.parse_args()
  shares, began, counts = sum(family.share for family in FAMILIES.values()), time.monotonic(), {}
  with tempfile.TemporaryDirectory() as folder:
    world = worlds.make(pathlib.Path(folder))
    for name, family in FAMILIES.items():
      if args.family in (None, name):
        count = round(args.count * family.share / shares)
        counts[name] = run(world, name, count, args.seed)
        print(name, {key: value for key, value in counts[name].items() if value})
  if args.family:
    return
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
  total = {key: sum(entry[key] for entry in counts.values()) for key in OUTCOMES}
  facts = {
    "seed": args.seed,
    "seconds": round(time.monotonic() - began),
    "peak_gib": round(peak, 1),
  }
  files.write_json(RESULTS, {**facts, "all": total, "families": counts})


if __name__ == "__main__":
  main()
