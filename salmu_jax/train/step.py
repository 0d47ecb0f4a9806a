"""The steps of pretraining and unlearning, as pure functions of a state and a batch."""

import functools
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from salmu_jax import losses
from salmu_jax.data import images
from salmu_jax.errors import InputError
from salmu_jax.losses import Loss, sharded
from salmu_jax.models.clip import Embeddings
from salmu_jax.models.lengths import Groups
from salmu_jax.train import points
from salmu_jax.train.accumulate import embed_in_parts, value_and_grad
from salmu_jax.train.state import TrainState
from salmu_jax.transforms import noising


class UnlearningMethod(Protocol):
  """What the trainer reads of an unlearning method; see `salmu_jax.methods.base.Method`."""

  losses: dict[str, Loss]
  tx: optax.GradientTransformation
  prepares: tuple[Callable, ...]
  image_tower: bool
  split: tuple[Loss, Loss] | None
  point: points.Point | None


class Objective(NamedTuple):
  """What pretraining minimises, and the accuracy that it logs.

  loss: loss(Embeddings) -> ().
  accuracy: accuracy(Embeddings) -> (), the share of images whose own caption is the nearest.
  """

  loss: Callable
  accuracy: Callable


# Name -> Objective on a mesh; see `losses` and `losses.sharded`.
OBJECTIVES = {
  "contrastive": lambda mesh: Objective(losses.contrastive, losses.matching_accuracy),
  "contrastive_ring": lambda mesh: Objective(
    sharded.contrastive(mesh), sharded.matching_accuracy(mesh)
  ),
  "sigmoid": lambda mesh: Objective(losses.sigmoid, losses.matching_accuracy),
  "sigmoid_ring": lambda mesh: Objective(sharded.sigmoid(mesh), sharded.matching_accuracy(mesh)),
}


def embed(
  model: nn.Module,
  params: optax.Params,
  batch: dict[str, jax.Array],
  groups: Mapping[str, Groups] | None = None,
) -> Embeddings:
  """Embeddings of a batch.

  Args:
    model: the CLIP module.
    params: its parameters.
    batch: {"image": (B, S, S, 3) uint8 or (B, D) embeddings, "text": (B, L) int32}, and optionally
      "generic" (B, L) and "surrogate" (B, K, L).
    groups: {name of a text of the batch: how it is embedded}; None for the full context.
  """
  texts = [batch.get(name) for name in ("text", "generic", "surrogate")]
  more = {"groups": groups} if groups else {}
  image = batch["image"]
  image = images.normalise(image) if image.ndim == 4 else image
  return model.apply({"params": params}, image, *texts, **more)


def make_pretrain_step(
  model: nn.Module,
  tx: optax.GradientTransformation,
  objective: Objective,
  accumulate: int = 1,
  groups: Mapping[str, Groups] | None = None,
) -> Callable:
  """Returns step(state, batch) -> (state, metrics); batch is {"image", "text"} of B rows.

  Args:
    model: the CLIP module.
    tx: the optimizer.
    objective: the loss to minimise and the accuracy to log.
    accumulate: number of parts that the batch is embedded in, see `salmu_jax.train.accumulate`.
    groups: of its texts, see `embed`.
  """

  def loss_of(z):
    with jax.named_scope("loss"):
      return objective.loss(z), (objective.accuracy(z), z.scale)

  def step(state, batch):
    batch = {"image": batch["image"], "text": batch["text"]}
    (loss, (accuracy, scale)), grads = value_and_grad(
      loss_of, functools.partial(embed, model, groups=groups), state.params, batch, accumulate
    )
    with jax.named_scope("transforms"):
      updates, opt_state = tx.update(grads, state.opt_state, state.params)
    metrics = {
      "loss": loss,
      "accuracy": accuracy,
      "logit_scale": scale,
      "update_norm": optax.tree.norm(updates),
    }
    return _advance(state, updates, opt_state), metrics

  return step


def make_unlearn_step(
  model: nn.Module,
  method: UnlearningMethod,
  accumulate: int = 1,
  groups: Mapping[str, Mapping[str, Groups]] | None = None,
) -> Callable:
  """Returns step(state, reference, batch) -> (state, metrics).

  batch = {"forget": half, "retain": half}; `reference` holds the parameters the run started from. A
  half that the method does not read may be absent.

  Args:
    model: the CLIP module.
    method: two losses and a transformation.
    accumulate: number of parts that each half is embedded in, see `salmu_jax.train.accumulate`.
    groups: {half: groups of its texts, see `embed`}.
  """

  def step(state, reference, batch):
    reference, opt_state = noising.teacher(state.opt_state, reference), state.opt_state
    terms = _terms(model, reference, batch, accumulate, groups)
    if method.point is None:
      values, grads = _gradients(terms, method.losses, state.params)
    else:
      plain = {half: loss for half, loss in method.losses.items() if half != "forget"}
      values, grads = _gradients(terms, plain, state.params)
      forgets, holds = method.split or (method.losses["forget"], None)
      values["forget"], grads["forget"], opt_state = points.forget_gradient(
        method.point,
        functools.partial(terms, "forget"),
        forgets,
        holds,
        state.params,
        opt_state,
        not method.image_tower,
      )
    tx = optax.with_extra_args_support(method.tx)
    with jax.named_scope("transforms"):
      updates, opt_state = tx.update(
        grads["forget"], opt_state, state.params, retain_grads=grads["retain"]
      )
    metrics = {f"{half}_loss": values[half] for half in values}
    metrics["update_norm"] = optax.tree.norm(updates)
    return _advance(state, updates, opt_state), metrics

  return step


def gradients_of(
  model: nn.Module,
  method: UnlearningMethod,
  params: optax.Params,
  reference: optax.Params | None,
  batch: dict[str, dict[str, jax.Array]],
  accumulate: int = 1,
  groups: Mapping[str, Mapping[str, Groups]] | None = None,
) -> tuple[dict[str, jax.Array], dict[str, optax.Updates]]:
  """Losses of the halves that the method reads, and gradients of both: two dicts by half.

  The gradient of a half without a loss is zero.

  Raises:
    InputError: a half that the method reads is absent, or a loss that compares has no reference.
  """
  terms = _terms(model, reference, batch, accumulate, groups)
  return _gradients(terms, method.losses, params)


def _gradients(terms, losses_of, params):
  """({half: loss}, {half: gradient}) at params; zero for a half without a loss."""
  values, grads = {}, dict.fromkeys(("forget", "retain"), jax.tree.map(jnp.zeros_like, params))
  for half, loss in losses_of.items():
    values[half], grads[half] = terms(half, loss)(params)
  return values, grads


def _terms(model, reference, batch, accumulate, groups):
  """terms(half, loss)(params) -> (value, gradient) on a half of the batch."""
  groups = groups or {}

  def terms(half, loss):
    _refuse_absent(half, batch)
    embed_ = functools.partial(embed, model, groups=groups.get(half))
    if reference:
      target = embed_in_parts(embed_, reference, batch[half], accumulate)
    else:
      target = _refuse_unreferenced(half, loss)
    loss_of = functools.partial(_scoped_loss, f"loss_of_{half}", loss, target)

    def at(params):
      (value, _), grads = value_and_grad(loss_of, embed_, params, batch[half], accumulate)
      return value, grads

    return at

  return terms


def _scoped_loss(scope, loss, target, z):
  """(the loss, ()), under a name that a profile shows."""
  with jax.named_scope(scope):
    return loss(z, target), ()


def _refuse_absent(half, batch):
  if half not in batch:
    raise InputError(
      f"The method reads {half}, but the batch has no {half!r} half. Add it, or use a method that "
      f"reads only {' and '.join({'forget', 'retain'} - {half})}."
    )


def _refuse_unreferenced(half, loss):
  """None as the reference of a loss that needs none; raises InputError for the others."""
  if losses.compares(loss):
    raise InputError(
      f"The {half} loss compares with the starting model, but no reference was given. Pass the "
      "parameters that the run starts from."
    )
  return None


def _advance(state, updates, opt_state):
  return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)
