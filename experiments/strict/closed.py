"""Closed-form edits against forgetting: python -m experiments.strict.closed ROOT

ROOT holds a finished mini run of seed 0, seed-0, as experiments/anchored/run.sh makes it. Each
forget caption is to be embedded where it was, less its component along its own picture
(`losses.component_removed`). The changes of MLP outputs that do this are found caption by caption,
and written into the matrices by least squares (`experiments.strict.edits`). Captions of retain and
surrogates are what is to stay. results/closed-seed-0.json is written after every run; a run that is
there is not made again. Of the ridge and of the null space, the best run is attacked too; it is
chosen by its scores, those of holdouts among them, which flatters the edit.
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
_STEPS, _RATE = 20, 30.0  # of the descent to the values
# Name -> (layers that are edited, whether values are sought at all tokens or at the ends).
WHERE = {
  "layer 0, ends": ((0,), False),
  "layer 0, all tokens": ((0,), True),
  "layer 1": ((1,), False),
  "both layers": ((0, 1), False),
}
WEIGHTS = (0.01, 0.1, 1.0, 10.0, 100.0)  # of what is to stay, for the ridge
SHARES = (0.0, 0.5, 1.0)  # of surrogates in what is to stay
REMOVED = (0.5, 0.9, 0.99, 0.999)  # of the trace, for the null space
# Values that are asked for in excess where little is written: (kind, strength, gain).
GAINS = (
  ("ridge", 1.0, 1.5),
  ("ridge", 1.0, 2.0),
  ("ridge", 10.0, 2.0),
  ("ridge", 10.0, 4.0),
  ("null space", 0.9, 1.5),
  ("null space", 0.99, 2.0),
)
FACTS = (10, 20, 40, 80, 160)  # that are written alone, to compare with random keys
_KINDS = {"ridge": edits.ridge, "null space": edits.null_space}


class Run(NamedTuple):
  """An edit. where: of WHERE. kind: of _KINDS. strength: the weight of the ridge, or the share of
  the trace that the null space excludes. surrogates: their share in what is to stay. gain: factor
  on the values.
  """

  where: str
  kind: str
  strength: float
  surrogates: float
  gain: float = 1.0

  @property
  def label(self) -> str:
    """Its key in the results."""
    gain = "" if self.gain == 1 else f", gain {self.gain:g}"
    return f"{self.where}: {self.kind} {self.strength:g}, surrogates {self.surrogates:g}{gain}"


class World(NamedTuple):
  """What edits read, all of it from forget, retain, surrogates and the starting model.

  tokens: (N, T) of forget captions. facts: (N,) numbers of what they tell. goals: (N, D) where they
  should be. stay: "retain" and "surrogates" -> (M, T) tokens of captions, each once.
  """

  tokens: np.ndarray
  facts: np.ndarray
  goals: np.ndarray
  stay: dict[str, np.ndarray]


def runs() -> list[Run]:
  """The sweep."""
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
  """(N, D): a text for each row of forget where it is at the start, less its component along the
  picture of the row.
  """
  image = bench.evaluator.embed_pictures(bench.start, "forget")
  text = bench.evaluator.embed_texts(bench.start, texts)
  return np.asarray(unit(text - np.sum(image * text, axis=-1, keepdims=True) * image))


def read_world(bench: Bench) -> World:
  """What edits read of an opened run."""
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
  """kept_of(params, layer) of `edits.edit`, from squares(name, params, layer) of World.stay.

  Args:
    squares: see `edits.kept_square`. surrogates: their share; retain has the rest.
  """
  parts = {"retain": 1 - surrogates, "surrogates": surrogates}
  return lambda params, layer: sum(
    part * squares(name, params, layer) for name, part in parts.items() if part
  )


class Study:
  """The edits of one opened run, and its results file.

  Args:
    bench: opens and judges.
    goals: goals(bench, world) -> (N, D), in the place of those of `read_world`.
    results: the file.
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
    """Edits and measures, unless it is there."""
    if one.label in self.content["runs"]:
      return
    params, fits = self.edited(one)
    results = self._bench.evaluator.run(params, one.label)
    found = lookup.flatten(results)
    bounds = [self.content[name] for name in ("clean", "compromised")]
    self.content["runs"][one.label] = {
      **{k: v for k, v in one._asdict().items() if v != Run._field_defaults.get(k)},
      "fits": {str(layer): fit for layer, fit in fits.items()},
      "shares": side_shares(_SIDES, found, *bounds),
      "scores": {name: found[name] for name in _SHOWN},
    }
    self._write()

  def judge(self, one: Run) -> None:
    """Edits, measures and attacks, unless it is there."""
    if one.label not in self.content["judged"]:
      judged = self._bench.judge(self.edited(one)[0], one.label)
      self.content["judged"][one.label] = judged
      self._write()
      progress.console.print(f"{one.label}: {clauses.in_short(judged['clauses'])}")

  def edited(self, one: Run) -> tuple[optax.Params, dict]:
    """See `edits.edit`."""
    layers, _ = WHERE[one.where]
    solve = functools.partial(_KINDS[one.kind], **_argument(one))
    kept_of = kept_mixture(self._squares, one.surrogates)
    bench, asked = self._bench, self._asked(one.where)
    asked = asked._replace(values=one.gain * asked.values)
    return edits.edit(bench.job.model, bench.start, asked, layers, kept_of, solve)

  def keep_subsets(self) -> None:
    """Keeps how well the captions of some of the facts alone are written into the last layer."""
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
  """The run of a kind whose smallest share is the largest."""
  found = [run for run in content["runs"].values() if run["kind"] == kind]
  top = max(found, key=lambda run: min(run["shares"].values()))
  return Run(**{field: top[field] for field in Run._fields if field in top})


def opened(argv: Sequence[str] | None, module: str) -> Bench:
  """The finished run that the arguments of a command name.

  Args:
    argv: of the command; None for those of this process. module: of the command.
  """
  jax.config.update("jax_platforms", "cpu")
  parser = finished.parser(f"strict.{module}", "the finished run seed-0")
  parser.add_argument(
    "--scratch", type=pathlib.Path, help="for caches; ROOT/study/closed if absent"
  )
  args = parser.parse_args(argv)
  scratch = args.scratch or args.root / "study" / "closed"
  return Bench(args.root / "seed-0", scratch, SEED)


def main(argv: Sequence[str] | None = None) -> None:
  """Runs the sweep."""
  study = Study(opened(argv, "closed"))
  study.keep_subsets()
  for one in runs():
    study.run(one)
  for kind in _KINDS:
    study.judge(best(study.content, kind))


if __name__ == "__main__":
  main()
