"""Which clauses of the strict verdict can hold together if only the right captions move?

  python -m experiments.strict.possible ROOT [--seeds 0 1 2]

ROOT holds finished mini runs, seed-0 and so on, as experiments/anchored/run.sh makes them. We
replace Compromised's embeddings of forget captions as an editor without side effects would.
Everything else stays bit-identical. Weights that do this may not exist. But if a clause fails here,
no method that moves these captions in this way can satisfy it. Writes results/possible.json.
"""

import argparse
import pathlib
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np

from experiments.anchored import tabulate
from experiments.finished import open_run
from salmu_jax.data.leaks import Leak, leaks
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.generate import personas
from salmu_jax.results import clauses
from salmu_jax.runtime import files, progress

RESULTS = pathlib.Path(__file__).parent / "results" / "possible.json"
_FORGET = "forget"
_PEOPLE, _STREAM = 2000, 9  # made-up people, whose values replace the true ones


class Telling(NamedTuple):
  """A text that states a fact of forget, with the true value or a wrong one.

  text: the text.
  other: the same text with the made-up value that replaces the true one.
  row: of forget, with the picture that the text is about.
  named: whether the text contains the person's name.
  true: whether it contains the true value.
  """

  text: str
  other: str
  row: int
  named: bool
  true: bool


class World(NamedTuple):
  """The inputs of edits; all embeddings are Compromised's, of unit length.

  tellings: texts that state facts of forget.
  of: {text: (D,)}.
  picture: (N, D) of the rows of forget.
  person: (N, D), for each row the direction in which its person's pictures differ from the others'.
  mismatched: (N,), mean cosine of each picture with the captions of the other rows.
  """

  tellings: Sequence[Telling]
  of: Mapping[str, np.ndarray]
  picture: np.ndarray
  person: np.ndarray
  mismatched: np.ndarray


def _stays(world: World, telling: Telling) -> np.ndarray:
  return world.of[telling.text]


def _another_value(world: World, telling: Telling) -> np.ndarray:
  return world.of[telling.other if telling.true else telling.text]


def _unlike_picture(world: World, telling: Telling) -> np.ndarray:
  """The smallest move to the cosine that mismatched pairs have with the picture."""
  if not telling.true:
    return _stays(world, telling)
  level = world.mismatched[telling.row]
  return with_cosine(_stays(world, telling), world.picture[telling.row], level)


def _named_unlike_person(world: World, telling: Telling) -> np.ndarray:
  """With another value; if it contains the name, no nearer to this person than to others."""
  vector = _another_value(world, telling)
  return _less_person(world, telling, vector) if telling.named and telling.true else vector


def _values_unlike_person(world: World, telling: Telling) -> np.ndarray:
  """As `_named_unlike_person`, for texts with the name and any value."""
  vector = _another_value(world, telling)
  return _less_person(world, telling, vector) if telling.named else vector


def _all_unlike_person(world: World, telling: Telling) -> np.ndarray:
  """As `_values_unlike_person`, and for texts with the true value without the name."""
  vector = _another_value(world, telling)
  return _less_person(world, telling, vector) if telling.named or telling.true else vector


def _less_person(world, telling, vector):
  person = world.person[telling.row]
  return vector if vector @ person <= 0 else with_cosine(vector, person, 0.0)


# Name in the table -> edit(world, telling) -> (D,), the new embedding of the text.
EDITS: dict[str, Callable[[World, Telling], np.ndarray]] = {
  "none": _stays,
  "mismatched": _unlike_picture,
  "another value": _another_value,
  "another value, unlike the person": _named_unlike_person,
  "the same, whatever the value": _values_unlike_person,
  "the same, without a name too": _all_unlike_person,
}


def with_cosine(vector: np.ndarray, direction: np.ndarray, cosine: float) -> np.ndarray:
  """The unit vector nearest to `vector` that has this cosine with `direction`.

  Args:
    vector, direction: (D,) unit vectors.
    cosine: of the result with `direction`.
  """
  across = vector - (vector @ direction) * direction
  return np.sqrt(1 - cosine**2) * across / np.linalg.norm(across) + cosine * direction


def tellings(evaluator: Evaluator, told: Sequence[Leak], seed: int) -> list[Telling]:
  """The captions of forget, and the questions about its facts with true and with wrong values.

  Args:
    evaluator: whose questions these are.
    told: the leak of each row of forget.
    seed: of the made-up values, one for each fact.
  """
  stand_in = stand_ins(told, seed)
  statements = [(leak.text, row) for row, leak in enumerate(told)]
  questions = [part for part in evaluator.questions()[_FORGET].values() if part.texts]
  pairs = [pair for part in questions for pair in zip(part.rows, part.texts, strict=True)]
  statements += [(texts[0], row) for row, texts in pairs]
  true = [_telling(text, int(row), told[row], stand_in) for text, row in statements]
  false = [
    Telling(text, text, int(row), told[row].name in text, False)
    for row, texts in pairs
    for text in texts[1:]
  ]
  return [*false, *true]


def _telling(text, row, leak, stand_in):
  other = leak._replace(text=text).with_value(stand_in[leak.fact])
  return Telling(text, other or text, row, leak.name in text, True)


def stand_ins(told: Sequence[Leak], seed: int) -> dict[tuple, str]:
  """{fact: a made-up value of its field}, if possible one that nobody in forget has.

  Args:
    told: the leak of each row of forget.
    seed: of the made-up people with these values. They differ from the people of a release
      generated with the same seed.
  """
  own = int(np.random.default_rng([seed, _STREAM]).integers(2**31, 2**32))
  people = personas.people(own, _PEOPLE)
  taken = {(leak.field, leak.value) for leak in told}
  pools = {field: [one.facts[field] for one in people] for field in personas.FIELDS}
  free = {f: [v for v in pool if (f, v) not in taken] for f, pool in pools.items()}
  drawn = {}
  for leak in told:
    values = free[leak.field] or [v for v in pools[leak.field] if v != leak.value]
    drawn[leak.fact] = values[zlib.crc32(repr(leak.fact).encode()) % len(values)]
  return drawn


def make_world(evaluator: Evaluator, params, z: Embedded, told: Sequence[Leak], seed: int) -> World:
  """The inputs of the edits, from Compromised's embeddings of the release.

  Args:
    evaluator: embeds further texts.
    params: of Compromised.
    z: its embeddings of the release.
    told: the leak of each row of forget.
    seed: see `tellings`.
  """
  listed = tellings(evaluator, told, seed)
  texts = list(dict.fromkeys(t for telling in listed for t in (telling.text, telling.other)))
  with progress.counting("captions with other values", len(texts)) as tick:
    table = _unit(evaluator.embed_texts(params, texts, tick))
  of = dict(zip(texts, table, strict=True))
  picture = _unit(z.image[_FORGET])
  people = np.unique([leak.identity for leak in told], return_inverse=True)[1]
  means = _unit(np.stack([picture[people == k].mean(0) for k in range(people.max() + 1)]))
  person = _unit(means - means.mean(0))[people]
  cosines = picture @ np.stack([of[leak.text] for leak in told]).T
  own = np.diagonal(cosines)
  mismatched = (cosines.sum(1) - own) / (len(told) - 1)
  return World(listed, of, picture, person, mismatched)


def edited(z: Embedded, world: World, edit: Callable) -> Embedded:
  """The embeddings after an edit. Of a text with both true and wrong tellings, the true counts."""
  row_of, table = z.text
  table = np.array(table)
  for telling in world.tellings:
    if telling.text in row_of:
      table[row_of[telling.text]] = edit(world, telling)
  return z._replace(text=(row_of, table))


def _unit(rows):
  rows = np.asarray(rows, np.float64)
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def study(root: pathlib.Path, seed: int) -> dict[str, dict]:
  """{edit: {"clauses": of the strict verdict, except attacks}} for one seed."""
  scratch = root / "study" / f"possible-{seed}"
  _, data, evaluator, bounds = open_run(root / f"seed-{seed}", scratch, "anchored", seed)
  z = {name: evaluator.embed(bounds[name], name) for name in ("clean", "compromised")}
  told = leaks(data.release, evaluator.tables[_FORGET])
  world = make_world(evaluator, bounds["compromised"], z["compromised"], told, seed)
  made = {name: edited(z["compromised"], world, edit) for name, edit in EDITS.items()}
  judged = [_judged(evaluator, *one) for one in ({**z, **made}).items()]
  verdicts = clauses.strict_verdicts(judged)
  return {
    name: {"clauses": [clause._asdict() for clause in verdict.clauses]}
    for name, verdict in verdicts.items()
  }


def _judged(evaluator, name, z):
  results = evaluator.score(z)
  results["salmu_jax"] |= {"model": name, "release": {"holdout_unit": "fact"}}
  return results


def section() -> str:
  """The table: means over seeds, bold if a clause holds on every seed."""
  seeds = files.read_json(RESULTS)["seeds"].values()
  return tabulate.clause_table({name: [seed[name] for seed in seeds] for name in EDITS})


def main(argv: Sequence[str] | None = None) -> None:
  """Evaluates every edit on every seed."""
  jax.config.update("jax_platforms", "cpu")
  parser = argparse.ArgumentParser(prog="python -m experiments.strict.possible")
  parser.add_argument("root", type=pathlib.Path, help="folder with the finished runs seed-0 ...")
  parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2))
  args = parser.parse_args(argv)
  kept = {}
  for seed in args.seeds:
    kept[str(seed)] = study(args.root.absolute(), seed)
    files.write_json(RESULTS, {"seeds": kept})
  progress.console.print(section())


if __name__ == "__main__":
  main()
