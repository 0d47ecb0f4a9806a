"""Batches for unlearning: a forget half and a retain half, the same for every method."""

from collections.abc import Callable, Mapping, Sequence

from salmu_jax.data import pipeline
from salmu_jax.data.dataset import Data
from salmu_jax.data.leaks import leak_of
from salmu_jax.methods import surrogates
from salmu_jax.methods.base import Surrogates

_FORGET_ORDER, _RETAIN_ORDER = 2, 3  # streams of `pipeline.order_seed`


def unlearning_examples(
  data: Data, *, image_size: int, seed: int, surrogates: Surrogates | None = None
) -> Sequence[Mapping]:
  """Endless {"forget": example, "retain": example}; their order is the same for every method.

  A half without rows in the release is left out. `pipeline.start` makes batches of the examples.

  Args:
    data: its forget and retain are read, nothing else.
    image_size: of the pictures. seed: of the run.
    surrogates: `Method.surrogates`, for the forget half.
  """
  captions = surrogate_captions(data, surrogates, seed)
  halves = {
    half: pipeline.training_examples(
      pipeline.open_training(data.records, half, data.splits(half)),
      data.tokenizer,
      image_size=image_size,
      seed=pipeline.order_seed(seed, order),
      texts=("text", "generic") if half == "forget" else ("text",),
      **(captions if half == "forget" else {}),
    )
    for half, order in (("forget", _FORGET_ORDER), ("retain", _RETAIN_ORDER))
    if data.splits(half)
  }
  return pipeline.zip_halves(halves)


def surrogate_captions(
  data: Data, settings: Surrogates | None, seed: int
) -> Mapping[str, Callable]:
  """The arguments `surrogates` and `reworded` of `pipeline.training_examples`, if any.

  Args:
    data: its forget is read. settings: `Method.surrogates`; None gives {}. seed: of the run.

  Raises:
    InputError: see `surrogates.maker`.
  """
  if settings is None:
    return {}
  rows = pipeline.open_training(data.records, "forget", data.splits("forget"))
  forget = [rows[k] for k in range(len(rows))]
  leaks = {row["file_name"]: leak_of(data.release, row) for row in forget}
  maker = surrogates.maker(leaks.values(), settings.source, seed, settings.reworded)
  return {
    "surrogates": lambda row, rng: maker.near(leaks[row["file_name"]], settings.count, rng),
    "reworded": lambda row, rng: maker.reworded(leaks[row["file_name"]], rng),
  }
