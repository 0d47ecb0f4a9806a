"""Training: the jitted steps of pretraining and unlearning, and the loop that runs either.

What the trainer runs is what `jitted_pretrain_step` and `jitted_unlearn_step` return, so that tests
and compile checks lower the very same programs.
"""

import inspect
from typing import NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax import losses
from salmu_jax import mesh as mesh_lib
from salmu_jax.data import images
from salmu_jax.errors import InputError
from salmu_jax.models import clip

# Leaves that AdamW decays: matrices, not gains, biases, the class token or the logit scale.
DECAYED = {"kernel", "embedding", "positional_embedding", "proj", "text_projection"}


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


def make_optimizer(settings, total_steps):
  """The optimizer of a run, with linear warm-up and cosine decay of its learning rate.

  Args:
    settings: `name`, a key of OPTIMIZERS; `learning_rate` (peak), `warmup` and `end` (the share of the
      steps spent on warm-up, the share of the peak left at the end), `weight_decay`, `b1`, `b2`, `eps`.
    total_steps: of the run.
  """
  return OPTIMIZERS[settings.name](settings, make_schedule(settings, total_steps))


def make_schedule(settings, total_steps):
  """Learning rate by number of steps taken, see `make_optimizer`."""
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=settings.learning_rate,
    warmup_steps=min(round(settings.warmup * total_steps), total_steps - 1),
    decay_steps=total_steps,
    end_value=settings.end * settings.learning_rate,
  )


def _adamw(settings, rate):
  return optax.adamw(
    rate,
    b1=settings.b1,
    b2=settings.b2,
    eps=settings.eps,
    weight_decay=settings.weight_decay,
    mask=_decayed,
  )


def _sgd(settings, rate):
  """As in PyTorch: the decay is part of the gradient that the momentum `b1` sums up."""
  decay = optax.add_decayed_weights(settings.weight_decay, mask=_decayed)
  return optax.chain(decay, optax.sgd(rate, momentum=settings.b1))


# Name -> optimizer(settings, learning rate by step).
OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def _decayed(params):
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)


def embed(model, params, batch):
  """Embeddings of a batch of {"image" uint8, "text", maybe "generic"}."""
  picture = images.normalise(batch["image"])
  return model.apply({"params": params}, picture, batch["text"], batch.get("generic"))


def make_pretrain_step(model, tx):
  """Returns step(state, batch) -> (state, metrics); batch {"image", "text"} of B rows."""

  def loss_of(params, batch):
    z = embed(model, params, batch)
    return losses.contrastive(z), (losses.matching_accuracy(z), z.scale)

  def step(state, batch):
    batch = {"image": batch["image"], "text": batch["text"]}
    grad = jax.value_and_grad(loss_of, has_aux=True)
    (loss, (accuracy, scale)), grads = grad(state.params, batch)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    metrics = {
      "loss": loss,
      "accuracy": accuracy,
      "logit_scale": scale,
      "update_norm": optax.tree.norm(updates),
    }
    return _advance(state, updates, opt_state), metrics

  return step


def make_unlearn_step(model, method):
  """Returns step(state, reference, batch) -> (state, metrics).

  batch = {"forget": half, "retain": half}; `reference` holds the parameters the run started from. A
  half that the method does not read may be absent.
  """

  def step(state, reference, batch):
    values, grads = gradients_of(model, method, state.params, reference, batch)
    tx = optax.with_extra_args_support(method.tx)
    updates, opt_state = tx.update(
      grads["forget"], state.opt_state, state.params, retain_grads=grads["retain"]
    )
    metrics = {f"{half}_loss": values[half] for half in values}
    metrics["update_norm"] = optax.tree.norm(updates)
    return _advance(state, updates, opt_state), metrics

  return step


def gradients_of(model, method, params, reference, batch):
  """Losses and gradients of both halves: two dicts by half; zeros for the gradient of an absent one.

  Raises:
    InputError: a half that the method reads is absent, or the reference of a loss that compares.
  """
  values, grads = {}, {}
  for half, loss in (("forget", method.forget_loss), ("retain", method.retain_loss)):
    if half not in batch:
      _refuse_absent(half, method)
      grads[half] = jax.tree.map(jnp.zeros_like, params)
      continue
    target = embed(model, reference, batch[half]) if reference else _refuse_unreferenced(half, loss)
    loss_of = lambda p, loss=loss, half=half, t=target: loss(embed(model, p, batch[half]), t)
    values[half], grads[half] = jax.value_and_grad(loss_of)(params)
  return values, grads


def _refuse_absent(half, method):
  if half in method.reads:
    raise InputError(
      f"The method reads {half}, and the batch has no {half!r} half; give it one, or take a method that "
      f"reads {' and '.join({'forget', 'retain'} - {half})} alone."
    )


def _refuse_unreferenced(half, loss):
  """None as the reference of a loss that needs none; raises InputError for the others."""
  if "reference" not in inspect.signature(loss).parameters or (
    inspect.signature(loss).parameters["reference"].default is inspect.Parameter.empty
  ):
    raise InputError(
      f"The {half} loss compares with the starting model, and no reference was given; pass the "
      "parameters that the run starts from."
    )
  return None


def _advance(state, updates, opt_state):
  return TrainState(state.step + 1, optax.apply_updates(state.params, updates), opt_state)


def jitted_pretrain_step(model, tx, mesh):
  """The pretraining step as it runs; the state is donated."""
  whole, rows = mesh_lib.replicated(mesh), mesh_lib.over_batch(mesh)
  return jax.jit(
    make_pretrain_step(model, tx),
    donate_argnums=0,
    in_shardings=(whole, rows),
    out_shardings=(whole, whole),
  )


def jitted_unlearn_step(model, method, mesh):
  """The unlearning step as it runs; the state is donated, the reference is not."""
  whole, rows = mesh_lib.replicated(mesh), mesh_lib.over_batch(mesh)
  return jax.jit(
    make_unlearn_step(model, method),
    donate_argnums=0,
    in_shardings=(whole, whole, rows),
    out_shardings=(whole, whole),
  )


def jitted_gradients(model, method, mesh):
  """gradients(params, batch) -> {"forget": tree, "retain": tree} at params, for `prepares`."""
  whole, rows = mesh_lib.replicated(mesh), mesh_lib.over_batch(mesh)
  gradients = lambda params, batch: gradients_of(model, method, params, params, batch)[1]
  return jax.jit(gradients, in_shardings=(whole, rows), out_shardings=whole)


def start_state(params, tx, mesh):
  """The state before the first step, on the mesh. `params` is copied, for steps donate."""
  params = jax.tree.map(jnp.copy, params)
  state = TrainState(jnp.zeros((), jnp.int32), params, tx.init(params))
  return jax.device_put(state, mesh_lib.replicated(mesh))


def prepared(state, method, gradients, mesh):
  """The state with what `method.prepares` measure of `gradients`, laid out as a step leaves it."""
  opt_state = state.opt_state
  for prepare in method.prepares:
    opt_state = prepare(opt_state, gradients)
  return state.replace(opt_state=jax.device_put(opt_state, mesh_lib.replicated(mesh)))


def fit(step, state, iterator, schedule, *, mesh, checkpoints, writer, progress):
  """Runs steps up to `schedule.total_steps`, from the newest checkpoint where there is one.

  Metrics stay on the device between log steps; each logged value is the mean since the last one.

  Args:
    step: step(state, batch) -> (state, metrics), jitted.
    state: the state to start from; donated.
    iterator: a checkpointable iterator of host batches.
    checkpoints: `checkpoint.Checkpoints`. writer: `writer.Writer`.
    progress: progress(done, metrics), called with the number of finished steps.

  Returns:
    The final state.

  Raises:
    InputError: a metric is not finite; names the step. The last good checkpoint is kept.
  """
  state, iterator = checkpoints.restore(state, iterator)
  first = int(state.step) + 1
  writer.resume(first - 1)
  progress(first - 1, {})
  waiting = []
  for now in range(first, schedule.total_steps + 1):
    batch = mesh_lib.put_batch(next(iterator), mesh)
    state, metrics = step(state, batch)
    waiting.append(metrics)
    if due(now, schedule.log_every, schedule.total_steps):
      row = _mean_of_finite(jax.device_get(waiting), now, checkpoints)
      waiting = []
      writer.write(now, row)
      progress(now, row)
    if due(now, schedule.checkpoint_every, schedule.total_steps):
      checkpoints.save(now, state, iterator)
  checkpoints.wait()
  return state


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


def init_params(model, seed, mesh):
  """Fresh parameters, born replicated over the mesh."""
  return jax.jit(lambda: clip.init(model, seed), out_shardings=mesh_lib.replicated(mesh))()
