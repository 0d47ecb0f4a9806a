"""The runs of the study: ablations of the method, and baselines as controls."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from configs import methods
from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method, Surrogates

_TEXT = "^text/"
SURROGATES = Surrogates(6, "both", 0.0)


def like(
  forget_loss: Callable | None = None,
  *,
  anchors: float = 4.0,
  retain: float = 2.0,
  patterns: str = _TEXT,
  after: tuple[optax.GradientTransformation, ...] = (),
  surrogates: Surrogates = SURROGATES,
  near_loss: losses.Loss = losses.surrogate_retention,
) -> Callable:
  """`anchored.make` with one part replaced; without arguments, the method itself.

  Args:
    forget_loss: on forget pairs; `losses.mismatched_target` if None.
    anchors: weight of the loss on surrogates; at 0 there are no surrogates.
    retain: weight of the loss on retain.
    patterns: regex of the parameters that are trained.
    after: transformations after the optimizer.
    surrogates: of each row.
    near_loss: on surrogates.
  """
  forget_loss = forget_loss or losses.mismatched_target()

  def make(optimizer):
    loss = losses.weighted((1.0, forget_loss), (anchors, near_loss)) if anchors else forget_loss
    tx = optax.chain(transforms.add_retain(retain), transforms.only(optimizer, patterns), *after)
    made_up = surrogates if anchors else None
    return Method(loss, losses.text_retention, tx, surrogates=made_up)

  return make


@losses.comparing
def _image_retention(z, reference):
  return jnp.mean(1 - jnp.sum(z.image * reference.image, axis=-1))


def _both_towers(optimizer):
  """Trains both towers; image embeddings of retain and forget are held at their old values."""
  near = (4.0, losses.surrogate_retention)
  loss = losses.weighted((1.0, losses.mismatched_target()), near, (4.0, _image_retention))
  retain = losses.weighted((1.0, losses.text_retention), (1.0, _image_retention))
  tx = optax.chain(transforms.add_retain(2.0), optimizer)
  return Method(loss, retain, tx, surrogates=SURROGATES)


def low_rank(rank: int) -> optax.GradientTransformationExtraArgs:
  """Limits the change of each matrix of the text tower since the start to a rank.

  Keeps the largest singular values of the change. Comes after the optimizer.
  """

  def init(params):
    return jax.tree.map(jnp.copy, params)

  def update(updates, start, params, **extra_args):
    del extra_args

    def cut(u, s, p):
      if u.ndim != 2:
        return u
      left, size, right = jnp.linalg.svd(p + u - s, full_matrices=False)
      return s + (left[:, :rank] * size[None, :rank]) @ right[:rank] - p

    text = jax.tree.map(cut, updates["text"], start["text"], params["text"])
    return {**updates, "text": text}, start

  return optax.GradientTransformationExtraArgs(init, update)


# Name -> (make, changed fields of the run, whether batches have the surrogates of their own rows).
ABLATIONS = {
  "no anchors": (like(anchors=0.0), {}, True),
  "anchors at a quarter": (like(anchors=1.0), {}, True),
  "neither": (like(anchors=0.0, retain=0.0), {}, True),
  "generated surrogates": (like(surrogates=SURROGATES._replace(source="generated")), {}, True),
  "surrogates of other rows": (like(), {}, False),
  "component removed": (like(losses.component_removed), {}, True),
  "bounded ascent": (like(losses.bounded_ascent()), {}, True),
  "both towers": (_both_towers, {}, True),
  "token embeddings alone": (like(patterns="^text/token_embedding"), {}, True),
  "rank 8": (like(after=(low_rank(8),)), {}, True),
  "AdamW": (like(), {"optimizer": {"name": "adamw"}}, True),
  "batches of 64": (like(), {"batch_size": 64}, True),
}
# Share of captions reworded, in the variant meant to forget the fact in every wording.
REWORDED = 0.5
# On the seed that baselines were tuned on, at 5x: the one that ranks first, and the first of those
# that remove 99 % of the leak (experiments/baselines).
STRONGEST = ("generic_captions", "salun")


COMPARED = 5.0  # the budget of comparisons: seeds, baselines, ablations


def at(budget: float, name: str = "anchored") -> str:
  """The label of a run of an unchanged method at a budget."""
  return f"{name} {budget:g}x"


def with_its_optimizer(name: str) -> str:
  """The label of a run of a baseline with the batch size and optimizer of `anchored`."""
  return f"{name}, its batches and optimizer"


def settings(
  name: str = "anchored", budget: float = COMPARED, changes: dict | None = None
) -> ConfigDict:
  """The settings of a method for mini, from configs/methods/NAME.py, with changes."""
  run = methods.runs(name, "mini")[name]
  run.budget = budget
  run.update(changes or {})
  return run
