"""The page of methods: what each does, from its docstring; its arguments, settings and scores."""

import functools
import inspect
import re
import sys

import optax

from configs import methods
from experiments import front
from experiments.baselines import space, study
from experiments.baselines import tabulate as baselines
from salmu_jax import ranges
from salmu_jax.methods import METHODS, base, runs
from salmu_jax.report import markdown as md

_SIZES = {"mini": "mini", "vit_b16": "ViT-B/16"}


def overview() -> str:
  """The table of all methods: what each does and reads, and its tuned scores on mini at 2x."""
  heads = ["method", "what it does", "reads", *front.SHARES]
  lines = [heads, ["---", "---", "---", *["---:"] * len(front.SHARES)]]
  for name in METHODS:
    cells = [f"{share:z.0%}" for share in shares(name).values()]
    lines.append([f"[`{name}`](#{name})", summary(name), reads(name), *cells])
  return md.table(lines)


def details() -> str:
  """A section for each method."""
  return "\n".join(f"### {name}\n\n{_detail(name)}" for name in METHODS)


def summary(name: str) -> str:
  """What a method does, in the first sentence of its module."""
  text = inspect.cleandoc(sys.modules[METHODS[name].__module__].__doc__)
  return " ".join(text.split("\n\n")[0].split()).rstrip(".")


@functools.cache
def reads(name: str) -> str:
  """Which half of a batch a method reads, or both."""
  (run,) = methods.runs(name, "mini").values()
  method = base.build(METHODS[name], optax.sgd(1.0), run.args.to_dict(), steps=100, seed=0)
  return method.reads[0] if len(method.reads) == 1 else "both"


def shares(name: str) -> dict[str, float]:
  """{column: the smaller share} of the tuned method at the budget of the search."""
  bounds = baselines.bounds()
  record = study.RESULTS / f"{name}.json"
  budget = 1.0 if name in space.ONE_PASS else space.SEARCH_BUDGET
  scores = study.files.read_json(record)["tuned"][f"{budget:g}"]["scores"]
  return front.smallest_shares(scores, bounds["clean"], bounds["compromised"])


def _detail(name):
  make = METHODS[name]
  text = re.split(r"\n\n(?:Args|Raises|Returns):\n", inspect.cleandoc(make.__doc__))[0]
  arguments = _arguments(make)
  return f"{text}\n\n" + (f"{arguments}\n" if arguments else "") + f"{_settings(name)}\n"


def _arguments(make):
  """The table of the arguments that a config gives; "" where there are none."""
  lines = [["argument", "default", "range"], ["---", "---", "---"]]
  for name, parameter in inspect.signature(make, eval_str=True).parameters.items():
    if parameter.kind is parameter.KEYWORD_ONLY and name not in base.OF_THE_RUN:
      limits = getattr(parameter.annotation, "__metadata__", ())
      words = "; ".join(ranges.in_words(limit) for limit in limits)
      lines.append([f"`{name}`", f"`{parameter.default!r}`", words])
  return md.table(lines) if len(lines) > 2 else ""


def _settings(name):
  """Where the settings come from, and what they are."""
  told = []
  for size, label in _SIZES.items():
    (run,) = methods.runs(name, size).values()
    optimizer = run.optimizer
    args = "".join(f", {key} = {value}" for key, value in run.args.to_dict().items())
    trained = f"{optimizer.name} at {optimizer.learning_rate:g}"
    how = "no optimizer" if name in space.ONE_PASS else trained
    told.append(f"{label}: {how}, batches of {run.batch_size}{args} ({runs.tuning(run)})")
  return f"Settings ([file](../configs/methods/{name}.py)). {'; '.join(told)}."
