"""Closed-form edits for forgetting: python -m experiments.strict.closed ROOT

ROOT/seed-0 is a finished mini run, as experiments/anchored/run.sh makes it. The goal of each forget
caption is its old embedding minus the component along its picture (`losses.component_removed`). We
find the changes of MLP outputs that reach the goals, caption by caption, and write them into the
matrices by least squares (`experiments.strict.edits`). Captions of retain and surrogates are held.
results/closed-seed-0.json is written after every run; runs already there are skipped. The best
ridge edit and the best null space edit are attacked too. They are selected by their scores, holdout
scores included, which flatters them.
"""

import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import optax

from experiments import finished
from experiments.anchored.bench import Bench
from experiments.strict import edits
from salmu_jax.data import pipeline
from salmu_jax.data.leaks import leak_of
from salmu_jax.methods import batches
from salmu_jax.methods.base import Surrogates
from salmu_jax.models.clip import unit
from salmu_jax.results import clauses, lookup
from salmu_jax.results.shares import SIDES, STRICT_SIDES, side_shares
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).parent / "results" / "closed-seed-0.json"
SEED = 0
_SIDES = SIDES | STRICT_SIDES
_SHOWN = (*dict.fromkeys(side.metric for side in _SIDES.values()), "FactLeak_own", "FactLeak_new")
_SURROGATES = Surrogates(6, "both", 0.0)  # those of `anchored`
_STEPS, _RATE = 20, 30.0  # of the gradient descent that finds values
# Name -> (edited layers, whether values change at all tokens or at the end tokens alone).
WHERE = {
  "layer 0, ends": ((0,), False),
  "layer 0, all tokens": ((0,), True),
  "layer 1": ((1,), False),
  "both layers": ((0, 1), False),
}
WEIGHTS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of held keys, for ridge edits
SHARES = (0.0, 0.5, 1.0)  # of surrogates among held keys
REMOVED = (0.5, 0.9, 0.99, 0.999)  # share of the trace, for null space edits
# Edits that write little, with scaled-up values: (kind, strength, gain).
GAINS = (
  ("ridge", 1.0, 1.5),
  ("ridge", 1.0, 2.0),
  ("ridge", 10.0, 2.0),
  ("ridge", 10.0, 4.0),
  ("null space", 0.9, 1.5),
  ("null space", 0.99, 2.0),
)
FACTS = (10, 20, 40, 80, 160)  # number of facts written alone, to compare with random keys
_KINDS = {"ridge": edits.ridge, "null space": edits.null_space}


class Run(NamedTuple):
  """An edit.

  where: a key of WHERE.
  kind: a key of _KINDS.
  strength: the weight of a ridge edit, or the share of the trace that a null space edit excludes.
  surrogates: their share among held keys.
  gain: factor on the values.
  """

  where: str
  kind: str
  strength: float
  surrogates: float
  gain: float = 1.0

  @property
  def label(self) -> str:
    """The edit's key in the results."""
    gain = "" if self.gain == 1 else f", gain {self.gain:g}"
    return f"{self.where}: {self.kind} {self.strength:g}, surrogates {self.surrogates:g}{gain}"


class World(NamedTuple):
  """The inputs of edits, from forget, retain, surrogates and the starting model alone.

  tokens: (N, T) of forget captions.
  facts: (N,) index of the fact that each caption states.
  goals: (N, D) where the captions should be embedded.
  stay: {"retain", "surrogates": (M, T) tokens of distinct captions}, to be held.
  """

  tokens: np.ndarray
  facts: np.ndarray
  goals: np.ndarray
  stay: dict[str, np.ndarray]


def runs() -> list[Run]:
  """All edits of the sweep."""
  sweep = {"ridge": WEIGHTS, "null space": REMOVED}
  plain = [
    Run(where, kind, strength, share)
    for kind, strengths in sweep.items()
    for where in WHERE
    for strength in strengths
    for share in SHARES
  ]
  late = ("layer 1", "both layers")
  return plain + [Run(w, kind, strength, 1.0, gain) for w in late for kind, strength, gain in GAINS]


def rows_of(bench: Bench, half: str) -> list[Mapping]:
  """The rows of "forget" or "retain", as training reads them."""
  rows = pipeline.open_training(bench.data.records, half, bench.data.splits(half))
  return [rows[k] for k in range(len(rows))]


def less_picture(bench: Bench, texts: Sequence[str]) -> np.ndarray:
  """(N, D): the starting embedding of a text for each row of forget, minus its component along the
  row's picture.
  """
  image = bench.evaluator.embed_pictures(bench.start, "forget")
  text = bench.evaluator.embed_texts(bench.start, texts)
  return np.asarray(unit(text - np.sum(image * text, axis=-1, keepdims=True) * image))


def read_world(bench: Bench) -> World:
  """The inputs of edits, from an opened run."""
  data = bench.data
  rows = {half: rows_of(bench, half) for half in ("forget", "retain")}
  texts = {half: [str(row["text"]) for row in many] for half, many in rows.items()}
  near = batches.surrogate_captions(data, _SURROGATES, SEED)["surrogates"]
  made_up = [
    text
    for k, row in enumerate(rows["forget"])
    for text in near(row, np.random.default_rng([SEED, k]))
  ]
  tokens_of = lambda listed: data.tokenizer([*dict.fromkeys(listed)])
  stay = {"retain": tokens_of(texts["retain"]), "surrogates": tokens_of(made_up)}
  told = [leak_of(data.release, row).fact for row in rows["forget"]]
  number = {fact: k for k, fact in enumerate(dict.fromkeys(told))}
  facts = np.array([number[fact] for fact in told])
  goals = less_picture(bench, texts["forget"])
  return World(data.tokenizer(texts["forget"]), facts, goals, stay)


def kept_mixture(
  squares: Callable[[str, optax.Params, int], np.ndarray], surrogates: float
) -> Callable[[optax.Params, int], np.ndarray]:
  """The function kept_of(params, layer) of `edits.edit`.

  Args:
    squares: squares(name, params, layer) -> `edits.kept_square` of a name of World.stay.
    surrogates: their share; retain has the other part.
  """
  parts = {"retain": 1 - surrogates, "surrogates": surrogates}
  return lambda params, layer: sum(
    part * squares(name, params, layer) for name, part in parts.items() if part
  )


class Study:
  """The edits of one opened run, and its results file.

  Args:
    bench: the opened run, which evaluates and attacks.
    goals: goals(bench, world) -> (N, D), instead of those of `read_world`.
    results: the results file.
  """

  def __init__(self, bench: Bench, goals: Callable | None = None, results: pathlib.Path = RESULTS):
    world = read_world(bench)
    self._bench = bench
    self._world = world._replace(goals=goals(bench, world)) if goals else world
    self._path = results
    about = {
      "release": bench.data.release.digest,
      "seed": SEED,
      "steps": _STEPS,
      "rate": _RATE,
      "surrogates": _SURROGATES._asdict(),
      **{name: {k: bound["scores"][k] for k in _SHOWN} for name, bound in bench.bounds.items()},
    }
    kept = files.read_json(results) if results.exists() else {}
    kept = kept if about.items() <= kept.items() else {}
    parts = {"values": {}, "subsets": [], "runs": {}, "judged": {}}
    self.content = about | {part: kept.get(part, empty) for part, empty in parts.items()}
    self._asked = functools.cache(self._ask)
    self._start_square = functools.cache(
      lambda name, layer: self._square(name, self._bench.start, layer)
    )

  def run(self, one: Run) -> None:
    """Makes and evaluates an edit, unless it is stored."""
    if one.label in self.content["runs"]:
      return
    params, fits = self.edited(one)
    results = self._bench.evaluator.run(params, one.label)
    scores = lookup.flatten(results)
    bounds = [self.content[name] for name in ("clean", "compromised")]
    self.content["runs"][one.label] = {
      **{k: v for k, v in one._asdict().items() if v != Run._field_defaults.get(k)},
      "fits": {str(layer): fit for layer, fit in fits.items()},
      "shares": side_shares(_SIDES, scores, *bounds),
      "scores": {name: scores[name] for name in _SHOWN},
    }
    self._write()

  def judge(self, one: Run) -> None:
    """Makes, evaluates and attacks an edit, unless it is stored."""
    if one.label not in self.content["judged"]:
      judged = self._bench.judge(self.edited(one)[0], one.label)
      self.content["judged"][one.label] = judged
      self._write()
      progress.console.print(f"{one.label}: {clauses.in_short(judged['clauses'])}")

  def edited(self, one: Run) -> tuple[optax.Params, dict]:
    """(parameters, fits) of an edit, see `edits.edit`."""
    layers, _ = WHERE[one.where]
    solve = functools.partial(_KINDS[one.kind], **_argument(one))
    kept_of = kept_mixture(self._squares, one.surrogates)
    bench, asked = self._bench, self._asked(one.where)
    asked = asked._replace(values=one.gain * asked.values)
    return edits.edit(bench.job.model, bench.start, asked, layers, kept_of, solve)

  def keep_subsets(self) -> None:
    """Stores how well the captions of a few facts alone are written into the last layer."""
    asked, facts = self._asked("layer 1"), self._world.facts
    kept = kept_mixture(self._squares, 0.5)(self._bench.start, asked.layer)
    keys, _ = edits.at(self._bench.job.model, self._bench.start, asked, asked.layer)
    values = asked.values[asked.mask].astype(np.float64)
    self.content["subsets"] = []
    for count, weight in itertools.product(FACTS, WEIGHTS):
      rows = facts < count
      change = edits.ridge(keys[rows], values[rows], kept, weight)
      fit = edits.fit(change, keys[rows], values[rows], kept)
      about = {"facts": count, "captions": int(rows.sum()), "weight": weight}
      self.content["subsets"].append({**about, **fit})
    self._write()

  def _ask(self, where):
    (*_, layer), everywhere = WHERE[where]
    model, start, world = self._bench.job.model, self._bench.start, self._world
    asked = edits.ask(model, start, world.tokens, world.goals, layer, everywhere, _STEPS, _RATE)
    self.content["values"][where] = {
      "cosine_reached": float(asked.cosines.mean()),
      "norm": float(np.linalg.norm(asked.values[asked.mask], axis=-1).mean()),
    }
    return asked

  def _squares(self, name, params, layer):
    if params is self._bench.start:
      return self._start_square(name, layer)
    return self._square(name, params, layer)

  def _square(self, name, params, layer):
    return edits.kept_square(self._bench.job.model, params, self._world.stay[name], layer)

  def _write(self):
    files.write_json(self._path, self.content)


def _argument(one):
  return {"weight" if one.kind == "ridge" else "share": one.strength}


def best(content: Mapping, kind: str) -> Run:
  """The edit of a kind whose smallest share is largest."""
  candidates = [run for run in content["runs"].values() if run["kind"] == kind]
  top = max(candidates, key=lambda run: min(run["shares"].values()))
  return Run(**{field: top[field] for field in Run._fields if field in top})


def opened(argv: Sequence[str] | None, module: str) -> Bench:
  """Opens the finished run that the command line names.

  Args:
    argv: arguments; None for those of the process.
    module: of the command, below experiments.strict.
  """
  jax.config.update("jax_platforms", "cpu")
  parser = finished.parser(f"strict.{module}", "the finished run seed-0")
  parser.add_argument("--scratch", type=pathlib.Path, help="for caches; default: ROOT/study/closed")
  args = parser.parse_args(argv)
  scratch = args.scratch or args.root / "study" / "closed"
  return Bench(args.root / "seed-0", scratch, SEED)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the sweep, and attacks the best edit of each kind."""
  study = Study(opened(argv, "closed"))
  study.keep_subsets()
  for one in runs():
    study.run(one)
  for kind in _KINDS:
    study.judge(best(study.content, kind))


if __name__ == "__main__":
  main()
