"""Training: the jitted steps of pretraining and unlearning, and the loop that runs either.

What the trainer runs is what `jitted_pretrain_step` and `jitted_unlearn_step` return, so that tests
and compile checks lower the very same programs.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax import losses
from salmu_jax.data import images
from salmu_jax.errors import InputError, Stopped
from salmu_jax.losses import sharded
from salmu_jax.models import clip
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers
from salmu_jax.train.accumulate import embed_in_parts, value_and_grad


@flax.struct.dataclass
class TrainState:
  """What a step changes and a checkpoint holds."""

  step: jax.Array
  params: dict
  opt_state: optax.OptState


class Schedule(NamedTuple):
  """How long a run is, and every how many steps it logs and saves."""

  total_steps: int
  log_every: int
  checkpoint_every: int


def embed(model, params, batch):
  """Embeddings of a batch of {"image" uint8, "text", maybe "generic" and "surrogate"}."""
  picture, more = images.normalise(batch["image"]), (batch.get("generic"), batch.get("surrogate"))
  return model.apply({"params": params}, picture, batch["text"], *more)


class Objective(NamedTuple):
  """What pretraining descends on, loss(z) -> (), and the share of captions found, accuracy(z) ->
  ().
  """

  loss: Callable
  accuracy: Callable


# Name -> Objective on a mesh; see `losses` and `sharded_losses`.
OBJECTIVES = {
  "contrastive": lambda mesh: Objective(losses.contrastive, losses.matching_accuracy),
  "contrastive_ring": lambda mesh: Objective(
    sharded.contrastive(mesh), sharded.matching_accuracy(mesh)
  ),
  "sigmoid": lambda mesh: Objective(losses.sigmoid, losses.matching_accuracy),
  "sigmoid_ring": lambda mesh: Objective(sharded.sigmoid(mesh), sharded.matching_accuracy(mesh)),
}


def make_pretrain_step(model, tx, objective, accumulate=1):
  """Returns step(state, batch) -> (state, metrics); batch {"image", "text"} of B rows.

  Args:
    objective: an Objective.
    accumulate: parts that the batch is embedded in, see `salmu_jax.train.accumulate`.
  """

  def loss_of(z):
    return objective.loss(z), (objective.accuracy(z), z.scale)

  def step(state, batch):
    batch = {"image": batch["image"], "text": batch["text"]}
    (loss, (accuracy, scale)), grads = value_and_grad(
      loss_of, functools.partial(embed, model), state.params, batch, accumulate
    )
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    metrics = {
      "loss": loss,
      "accuracy": accuracy,
      "logit_scale": scale,
      "update_norm": optax.tree.norm(updates),
    }
    return _advance(state, updates, opt_state), metrics

  return step


def make_unlearn_step(model, method, accumulate=1):
  """Returns step(state, reference, batch) -> (state, metrics).

  batch = {"forget": half, "retain": half}; `reference` holds the parameters the run started from. A
  half that the method does not read may be absent. Each half is embedded in `accumulate` parts, see
  `salmu_jax.train.accumulate`.
  """

  def step(state, reference, batch):
    values, grads = gradients_of(model, method, state.params, reference, batch, accumulate)
    tx = optax.with_extra_args_support(method.tx)
    updates, opt_state = tx.update(
      grads["forget"], state.opt_state, state.params, retain_grads=grads["retain"]
    )
    metrics = {f"{half}_loss": values[half] for half in values}
    metrics["update_norm"] = optax.tree.norm(updates)
    return _advance(state, updates, opt_state), metrics

  return step


def gradients_of(model, method, params, reference, batch, accumulate=1):
  """Losses of the halves that the method reads, and gradients of both: two dicts by half.

  The gradient of a half without a loss is zero.

  Raises:
    InputError: a half that the method reads is absent, or the reference of a loss that compares.
  """
  values, embed_ = {}, functools.partial(embed, model)
  grads = dict.fromkeys(("forget", "retain"), jax.tree.map(jnp.zeros_like, params))
  for half, loss in method.losses.items():
    _refuse_absent(half, batch)
    if reference:
      target = embed_in_parts(embed_, reference, batch[half], accumulate)
    else:
      target = _refuse_unreferenced(half, loss)
    loss_of = lambda z, loss=loss, target=target: (loss(z, target), ())
    (values[half], _), grads[half] = value_and_grad(
      loss_of, embed_, params, batch[half], accumulate
    )
  return values, grads


def _refuse_absent(half, batch):
  if half not in batch:
    raise InputError(
      f"The method reads {half}, and the batch has no {half!r} half; give it one, or take a method "
      f"that reads {' and '.join({'forget', 'retain'} - {half})} alone."
    )


def _refuse_unreferenced(half, loss):
  """None as the reference of a loss that needs none; raises InputError for the others."""
  if losses.compares(loss):
    raise InputError(
      f"The {half} loss compares with the starting model, and no reference was given; pass the "
      "parameters that the run starts from."
    )
  return None


def _advance(state, updates, opt_state):
  return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


def jitted_pretrain_step(model, tx, mesh, objective=None, *, layout=None, accumulate=1):
  """The pretraining step as it runs; the state is donated.

  Args:
    objective: an Objective for this mesh; CLIP's loss as defined, if None.
    layout: of the state, see `state_layout`; whole copies if None.
  """
  objective = objective or OBJECTIVES["contrastive"](mesh)
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  layout = layout or whole
  return jax.jit(
    make_pretrain_step(model, tx, objective, accumulate),
    donate_argnums=0,
    in_shardings=(layout, rows),
    out_shardings=(layout, whole),
  )


def jitted_unlearn_step(model, method, mesh, *, layout=None, accumulate=1):
  """The unlearning step as it runs; the state is donated, the reference is not."""
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  layout = layout or TrainState(whole, whole, whole)
  return jax.jit(
    make_unlearn_step(model, method, accumulate),
    donate_argnums=0,
    in_shardings=(layout, layout.params, rows),
    out_shardings=(layout, whole),
  )


def jitted_gradients(model, method, mesh, *, layout=None, accumulate=1):
  """gradients(params, batch) -> {"forget": tree, "retain": tree} at params, for `prepares`."""
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)
  params = layout.params if layout else whole
  gradients = lambda p, batch: gradients_of(model, method, p, p, batch, accumulate)[1]
  return jax.jit(
    gradients, in_shardings=(params, rows), out_shardings={"forget": params, "retain": params}
  )


class Program(NamedTuple):
  """A step as the trainer runs it.

  step: jitted. tx: what makes the optimizer's state. layout: of the state, a TrainState of
    NamedSharding.
  """

  step: Callable
  tx: optax.GradientTransformation
  layout: TrainState


def pretrain_program(config, model, mesh, total_steps):
  """The step that pretrains `model` as `config` says."""
  tx = optimizers.make_optimizer(config.pretrain.optimizer, total_steps)
  layout = state_layout(clip.shapes(model), tx, mesh, config.sharding)
  objective = OBJECTIVES[config.pretrain.loss](mesh)
  step = jitted_pretrain_step(
    model, tx, mesh, objective, layout=layout, accumulate=config.accumulate
  )
  return Program(step, tx, layout)


def unlearn_program(config, model, mesh, method):
  """The step that unlearns with `method` as `config` says."""
  layout = state_layout(clip.shapes(model), method.tx, mesh, config.sharding)
  step = jitted_unlearn_step(model, method, mesh, layout=layout, accumulate=config.accumulate)
  return Program(step, method.tx, layout)


def state_layout(params, tx, mesh, rules=sharding.REPLICATED):
  """Where every array of a run's state lies: a TrainState of NamedSharding.

  Args:
    params: a tree of arrays or shapes. rules: see `mesh.parameter_layout`.
  """
  known = sharding.parameter_layout(params, mesh, rules)
  opt_state = sharding.state_layout(jax.eval_shape(tx.init, params), known, mesh)
  return TrainState(sharding.replicated(mesh), known, opt_state)


def start_state(params, tx, mesh, layout=None):
  """The state before the first step, on the mesh. `params` is copied, for steps donate."""
  layout = layout or sharding.replicated(mesh)
  return jax.jit(lambda p: new_state(p, tx), out_shardings=layout)(params)


def new_state(params, tx):
  """The state before the first step, of copies of `params`."""
  return TrainState(jnp.zeros((), jnp.int32), jax.tree.map(jnp.copy, params), tx.init(params))


def prepared(state, method, gradients, mesh, layout=None):
  """The state with what `method.prepares` measure of `gradients`, laid out as a step leaves it."""
  opt_state = state.opt_state
  for prepare in method.prepares:
    opt_state = prepare(opt_state, gradients)
  where = layout.opt_state if layout else sharding.replicated(mesh)
  return state.replace(opt_state=jax.device_put(opt_state, where))


def fit(
  step, state, iterator, schedule, *, mesh, checkpoints, writer, progress, stop_asked=lambda: False
):
  """Runs steps up to `schedule.total_steps`, from the newest checkpoint where there is one.

  Metrics stay on the device between log steps; each logged value is the mean since the last one.

  Args:
    step: step(state, batch) -> (state, metrics), jitted.
    state: the state to start from; donated.
    iterator: a checkpointable iterator of host batches.
    checkpoints: `checkpoint.Checkpoints`. writer: `writer.Writer`.
    progress: progress(done, metrics), called with the number of finished steps.
    stop_asked: stop_asked() -> bool, asked after every step; all processes get the same answer.

  Returns:
    The final state.

  Raises:
    InputError: a metric is not finite; names the step. The last good checkpoint is kept.
    Stopped: a stop was asked for; the state after the last step is saved.
  """
  state, iterator, waiting = checkpoints.restore(state, iterator)
  first = int(state.step) + 1
  writer.resume(first - 1)
  progress(first - 1, {})
  for now in range(first, schedule.total_steps + 1):
    batch = sharding.put_batch(next(iterator), mesh)
    state, metrics = step(state, batch)
    waiting.append(metrics)
    if due(now, schedule.log_every, schedule.total_steps):
      row = _mean_of_finite(jax.device_get(waiting), now, checkpoints)
      waiting = []
      writer.write(now, row)
      progress(now, row)
    saved = due(now, schedule.checkpoint_every, schedule.total_steps)
    if saved:
      checkpoints.save(now, state, iterator)
    if stop_asked():
      _save_and_stop(now, state, iterator, waiting, checkpoints, saved)
  checkpoints.wait()
  return state


def _save_and_stop(now, state, iterator, waiting, checkpoints, saved):
  rows = jax.device_get(waiting)
  if rows:
    _mean_of_finite(rows, now, checkpoints)
  if not saved:
    metrics = [{name: float(value) for name, value in row.items()} for row in rows]
    checkpoints.save(now, state, iterator, metrics)
  checkpoints.wait()
  raise Stopped(f"after step {now}, which is saved")


def due(step, every, last):
  """Whether something done every `every` steps is due after `step`; always after the last."""
  return step == last or (every > 0 and step % every == 0)


def _mean_of_finite(rows, now, checkpoints):
  """Means over the rows of the steps up to `now`."""
  for step, row in enumerate(rows, start=now - len(rows) + 1):
    for name, value in row.items():
      if not np.isfinite(value):
        checkpoints.wait()
        raise InputError(
          f"{name} became {value} at step {step}; training stops there. The last checkpoint from "
          "before is kept. A lower learning_rate, a longer warmup or clipping of the gradient "
          "usually mends this."
        )
  return {name: float(np.mean([row[name] for row in rows], dtype=np.float64)) for name in rows[0]}


def init_params(model, seed, mesh, rules=sharding.REPLICATED):
  """Fresh parameters, born where they lie."""
  layout = sharding.parameter_layout(clip.shapes(model), mesh, rules)
  return jax.jit(lambda: clip.init(model, seed), out_shardings=layout)()
