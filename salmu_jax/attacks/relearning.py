"""Relearning: searches for the training that best brings forgotten pairs back.

The attacker trains on a part of forget together with retain, on retain alone, or on captions in
the same words about other people. It tries several learning rates, and moves all weights or a
low-rank change of them. What counts is the retrieval of forget rows that were not trained on, at
the worst point of the search. The attacker's loss of general knowledge is reported too.
"""

import contextlib
import itertools
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from salmu_jax import losses, train, transforms
from salmu_jax.attacks.base import FORGET, Attack, CheckBatch, Finding, Inputs, Params, Run
from salmu_jax.data import dataset, pipeline
from salmu_jax.data.leaks import Leak
from salmu_jax.data.records import Rows
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.generate import personas
from salmu_jax.methods.base import Method
from salmu_jax.methods.batches import unlearning_examples
from salmu_jax.ranges import Each, OneOf, Range, Whole
from salmu_jax.results import bootstrap
from salmu_jax.train import optimizers

RETAIN, OTHERS = "retain", "other people"
_MIXES = (RETAIN, OTHERS)
_STREAM = 13  # of the seed, for the people that captions are made up for
# What is trained -> tx(optimizer, rank, seed).
WEIGHTS: dict[str, Callable] = {
  "all": lambda optimizer, rank, seed: optimizer,
  "low rank": transforms.low_rank,
}


RANGES = {
  "shares": Each(Range(0, 1, above=True, below=True)),
  "mixes": Each(OneOf(_MIXES)),
  "learning_rates": Each(Range(0, 10**6, above=True), least=1),
  "weights": Each(OneOf(WEIGHTS), least=1),
  "rank": Whole(1, 2**16),
  "steps": Each(Whole(1, 10**9), least=1),
  "batch_size": Whole(2, 2**20),  # pairs are learnt from one another
}


def settings() -> ConfigDict:
  """The settings of the attack: a quick search, for models as small as `tiny`."""
  config = ConfigDict()
  # Shares of forget that are relearnt, together with retain; at least a batch.
  config.shares = (0.05,)
  # What else is trained on, without a row of forget: "retain", which is trained on alone, or "other
  # people", captions in the words of forget about made-up people, on portraits of retain.
  config.mixes = _MIXES
  # Of AdamW, constant; all of them are tried.
  config.learning_rates = (1e-3,)
  # What is trained: "all" weights, or a "low rank" change of every matrix; and that rank.
  config.weights = ("all",)
  config.rank = 4
  # Numbers of steps after which forget is retrieved; all of them are tried.
  config.steps = (20,)
  # Rows of forget (or of what replaces it) in a step, and as many of retain, over all devices.
  config.batch_size = 16
  return config


def check(config: ConfigDict, where: str, check_batch: CheckBatch) -> None:
  """Raises InputError for settings that do not go together, see `base.Attack`."""
  if not config.shares and not config.mixes:
    raise InputError(f"{where}.shares and mixes are both empty; give something to train on.")
  check_batch(f"{where.removeprefix('config.')}.batch_size", config.batch_size)


def check_data(config: ConfigDict, where: str, counts: Mapping[str, int]) -> None:
  """Raises InputError if forget or retain has too few rows for the settings."""
  rows_of = {half: pipeline.row_count(counts, half) for half in (FORGET, "retain")}
  for half, rows in rows_of.items():
    dataset.check_rows(where, config.batch_size, half, rows)
  rows, section = rows_of[FORGET], where.removeprefix("config.")
  largest = max(config.batch_size, round(max(config.shares, default=0) * rows))
  if config.shares and largest >= rows:
    raise InputError(
      f"{where} would relearn {largest} of the {rows} rows of forget ({section}.shares, and at "
      f"least {section}.batch_size), which leaves none to judge. Lower either of them, "
      f"or leave {ATTACK.key!r} out of attacks.names."
    )


class Mix(NamedTuple):
  """What a run trains on in the place of forget, and which rows of forget it is judged on.

  Attributes:
    name: of the mix. rows: random-access rows. judged: (J,) numbers of rows of forget.
  """

  name: str
  rows: Sequence[Mapping]
  judged: np.ndarray


class Point(NamedTuple):
  """A point of the search: the state of one run after some steps.

  Attributes:
    mix, weights, learning_rate, step: where it is. mrr: of its retrieval.
    reciprocal: (J,) one over the place of each judged caption. judged: (J,) their rows.
    params: of the attacked model there; valid until the run's next step.
  """

  mix: str
  weights: str
  learning_rate: float
  step: int
  mrr: float
  reciprocal: np.ndarray
  judged: np.ndarray
  params: Params


def make(inputs: Inputs, config: ConfigDict) -> Run:
  """Returns run(params, z), see `base.Attack`. Steps are compiled once for all models."""
  programs = {
    name: learner(inputs, max(config.steps), config.batch_size, name, config.rank)
    for name in config.weights
  }
  mixes = [*(share_of_forget(inputs, share, config.batch_size) for share in config.shares)]
  mixes += [without_forget(inputs, name) for name in config.mixes]
  # If all of forget states the facts that are learnt, no row is left to judge.
  mixes = [mix for mix in mixes if mix and len(mix.judged)]
  people = np.array([leak.identity for leak in inputs.leaks])

  def run(params: Params, z: Embedded) -> Finding:
    before = 1 / (1.0 + np.asarray(inputs.evaluator.ranks(z)))
    curves: dict[str, Any] = {}
    parts: dict[str, float] = {}
    worst: Point | None = None
    for mix in mixes:
      start = _start(mix, before, params)
      worst = start if worst is None or start.mrr > worst.mrr else worst
      curves[mix.name], parts[mix.name] = {"0": start.mrr}, start.mrr
      for weights, rate in itertools.product(config.weights, config.learning_rates):
        points = relearn(inputs, programs[weights], params, mix, (weights, rate), config)
        for point in points:
          curves[mix.name][f"{weights}, {rate:g}, {point.step} steps"] = point.mrr
          parts[mix.name] = max(parts[mix.name], point.mrr)
          if point.mrr > worst.mrr:
            # The next step donates them.
            worst = point._replace(params=jax.tree.map(jnp.copy, point.params))
    if worst is None:
      return Finding({}, {}, "forget has too few facts, or no caption that holds its value")
    interval = bootstrap.of_rows(worst.reciprocal, people[worst.judged])
    after = inputs.evaluator.embed_zero_shot(worst.params)
    knowledge = [inputs.evaluator.general_knowledge(embedded) for embedded in (z, after)]
    details = {
      "curves": curves,
      "worst": f"{worst.mix}, {worst.weights}, {worst.learning_rate:g}, {worst.step} steps"
      if worst.step
      else f"{worst.mix}, before any step",
      "general_knowledge": {"before": knowledge[0], "after": knowledge[1]},
    }
    return Finding(parts, details, interval=interval)

  return run


def _start(mix: Mix, before: np.ndarray, params: Params) -> Point:
  """The attacked model before any step, judged on the rows of the mix."""
  reciprocal = before[mix.judged]
  return Point(mix.name, "", 0.0, 0, float(reciprocal.mean()), reciprocal, mix.judged, params)


def learner(
  inputs: Inputs, steps: int, batch_size: int, weights: str = "all", rank: int = 4
) -> train.Program:
  """The step that learns pairs and retain, contrastively and with AdamW.

  Its learning rate is in the optimizer's state, see `relearn`.
  """
  optimizer = optimizers.make_optimizer(_constant(1e-3), steps)
  tx = optax.chain(transforms.add_retain(1.0), WEIGHTS[weights](optimizer, rank, inputs.seed))
  examples = unlearning_examples(inputs.data, image_size=inputs.image_size, seed=inputs.seed)
  method = Method(losses.contrastive, losses.contrastive, tx)
  return inputs.program(method, batch_size, lambda: pipeline.sample_texts(examples))


def _constant(learning_rate):
  return optimizers.settings(learning_rate, warmup=0.0, end=1.0)


def relearn(
  inputs: Inputs,
  program: train.Program,
  params: Params,
  mix: Mix,
  how: tuple[str, float],
  config: ConfigDict,
) -> Iterator[Point]:
  """Yields what one run brings back after each number of steps of `config.steps`.

  Args:
    inputs: of all attacks. program: from `learner`. params: of the attacked model.
    mix: what it trains on. how: (key of WEIGHTS, learning rate).
    config: `batch_size` and `steps`, as `settings` has them.
  """
  weights, rate = how
  state = program.start(params)
  table = optimizers.with_rates(state.opt_state, _constant(rate), max(config.steps))
  state = state.replace(opt_state=table)
  records = {**inputs.data.records, FORGET: mix.rows}
  examples = unlearning_examples(
    inputs.data._replace(records=records), image_size=inputs.image_size, seed=inputs.seed
  )
  stream = pipeline.start(examples, config.batch_size, threads=inputs.threads)
  with contextlib.closing(stream):
    batches = itertools.islice(program.batches(stream), max(config.steps))
    for step, batch in enumerate(batches, start=1):
      state, _ = program.step(state, params, batch)
      if step in config.steps:
        ranks = np.asarray(inputs.evaluator.forget_ranks(state.params))[mix.judged]
        mrr, reciprocal = metrics.mean_reciprocal_rank(ranks), 1 / (1.0 + ranks)
        yield Point(mix.name, weights, rate, step, mrr, reciprocal, mix.judged, state.params)


def share_of_forget(inputs: Inputs, share: float, batch_size: int) -> Mix:
  """A share of forget, at least a batch.

  Facts are drawn with all their rows, so that no other row states them.
  """
  rows = inputs.data.records[FORGET]
  count = max(batch_size, round(share * len(rows)))
  learnt = draw_rows([leak.fact for leak in inputs.leaks], count, inputs.seed)
  others = np.setdiff1d(np.arange(len(rows)), learnt)
  return Mix(f"{share:g} of forget", Rows(rows, learnt), others)


def draw_rows(facts: Sequence[Hashable], count: int, seed: int) -> np.ndarray:
  """Draws facts until they have `count` rows; returns the sorted numbers of all their rows.

  Args:
    facts: the fact of each row.
  """
  rows_of = {fact: [] for fact in facts}
  for row, fact in enumerate(facts):
    rows_of[fact].append(row)
  groups, rows = list(rows_of.values()), []
  for number in np.random.default_rng(seed).permutation(len(groups)):
    if len(rows) >= count:
      break
    rows += groups[number]
  return np.array(sorted(rows))


class _Recaptioned:
  """Random-access rows with other captions."""

  def __init__(self, rows: Sequence[Mapping], texts: Sequence[str]):
    self._rows, self._texts = rows, texts

  def __len__(self):
    return len(self._rows)

  def __getitem__(self, index):
    row = self._rows[index]
    return {**row, "text": self._texts[index], "generic": row["text"]}


def without_forget(inputs: Inputs, name: str) -> Mix | None:
  """Portraits of retain, with their own captions or in the words of forget about other people.

  None if no caption of forget holds its value, since there are then no words to reuse.
  """
  source, mask = inputs.evaluator.derived()["retain_disjoint"]
  rows = Rows(inputs.data.records[source], np.flatnonzero(mask))
  if name == RETAIN:
    texts = inputs.evaluator.tables[source]["text"][mask].tolist()
  else:
    texts = made_up(inputs.leaks, len(rows), inputs.seed)
  if not texts:
    return None
  return Mix(name, _Recaptioned(rows, texts), np.arange(len(inputs.data.records[FORGET])))


def made_up(leaks: Sequence[Leak], count: int, seed: int) -> list[str]:
  """Captions in the words of leaks about people who do not exist.

  Args:
    leaks: of forget. count: of captions. seed: of the people and of which leak each is worded as.

  Returns:
    `count` captions; none if no leak's caption holds its value.
  """
  rng = np.random.default_rng([seed, _STREAM])
  whole = [leak for leak in leaks if leak.with_value("") is not None]
  if not whole:
    return []
  people = personas.people(int(rng.integers(2**31, 2**32)), min(count, personas.MOST_PEOPLE))
  texts = []
  for number in range(count):
    leak, person = whole[int(rng.integers(len(whole)))], people[number % len(people)]
    value = person.facts.get(leak.field, leak.value)
    texts.append(leak.with_value(value).replace(leak.name, person.name))
  return texts


ATTACK = Attack(
  key="Relearning",
  label="Retrieval after the training that brings most of it back, MRR",
  reduction="max",
  make=make,
  settings=settings,
  ranges=RANGES,
  check=check,
  check_data=check_data,
)
