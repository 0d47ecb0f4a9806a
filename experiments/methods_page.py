"""The page of methods: what each does, from its docstring; its arguments, settings and scores."""

import functools
import inspect
import re
import sys

import optax

from configs import methods
from experiments import front
from experiments.baselines import space
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
  """What a method does: the first sentence of its module."""
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
  scores = baselines.at(baselines.records()[name], space.SEARCH_BUDGET)["scores"]
  return front.smallest_shares(scores, bounds["clean"], bounds["compromised"])


def _detail(name):
  make, module = METHODS[name], sys.modules[METHODS[name].__module__]
  text, *sections = re.split(r"\n\n(?=(?:Args|Raises|Returns):\n)", inspect.cleandoc(make.__doc__))
  more = inspect.cleandoc(module.__doc__).partition("\n\n")[2]
  arguments = _arguments(make, _described("\n".join(sections)))
  parts = [_with_formulas(text), _with_formulas(more), arguments.rstrip(), _settings(name)]
  return "\n\n".join(part for part in parts if part) + "\n"


def _with_formulas(text):
  """A text with its formulas, which are indented, as code."""
  return re.sub(r"^ {2}(?=.)", "    ", text, flags=re.M)


def _described(sections):
  """{argument: its description} of the section Args of a docstring."""
  entries = re.findall(r"^  (\w[\w, ]*): (.*(?:\n    .*)*)", sections, re.M)
  split = ((names.split(", "), " ".join(words.split())) for names, words in _apart(entries))
  return {name: words.rstrip(".") for names, words in split for name in names}


def _apart(entries):
  """Entries; one line may hold several: "margin: of the loss. surrogates: how many"."""
  for names, words in entries:
    first, *others = re.split(r"\. (?=[a-z]\w*(?:, \w+)*: )", words)
    yield names, first
    yield from (tuple(other.split(": ", 1)) for other in others)


def _arguments(make, described):
  """The table of the arguments that a config gives; "" where there are none."""
  lines = [["argument", "default", "range", "meaning"], ["---"] * 4]
  for name, parameter in inspect.signature(make, eval_str=True).parameters.items():
    if parameter.kind is parameter.KEYWORD_ONLY and name not in base.OF_THE_RUN:
      limits = getattr(parameter.annotation, "__metadata__", ())
      words = "; ".join(ranges.in_words(limit) for limit in limits)
      lines.append([f"`{name}`", f"`{parameter.default!r}`", words, described.get(name, "")])
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
