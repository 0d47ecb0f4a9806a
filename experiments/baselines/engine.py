"""Unlearning runs that share their compiled programs: the towers' are compiled once for all
methods.

The trainer compiles loss, towers and chain as one program, some ten seconds for each method, budget
and argument. Losses see embeddings alone, so the gradient comes apart: embeddings forward, the
loss's gradient on them (a small program of each loss), and the towers backward from there. A test
compares with the trainer's step for every method.
"""

import functools

import jax
import jax.numpy as jnp
import optax

from experiments import rates as rates_lib
from salmu_jax import losses, train
from salmu_jax.methods import MAKERS, base
from salmu_jax.runtime import sharding

_MEASURED_ONLY = {("null_space", "retain"), ("slug", "retain")}


class Engine:
  """The programs of one architecture and one start.

  Args:
    model: the CLIP module. start: its parameters, which every run starts from. mesh: the devices.
  """

  def __init__(self, model, start, mesh):
    self._layout = sharding.replicated(mesh)
    self.start = jax.device_put(start, self._layout)
    self._zeros = jax.tree.map(jnp.zeros_like, start)
    self._forward = jax.jit(
      lambda params, half: jax.vjp(lambda p: train.embed(model, p, half), params)
    )
    self.embed = jax.jit(functools.partial(train.embed, model))
    self._backward = jax.jit(lambda pull, cotangent: pull(cotangent)[0])

  def reference(self, batches):
    """[{half: Embeddings}] of the batches at the start; every run compares with these."""
    return [{half: self.embed(self.start, rows) for half, rows in each.items()} for each in batches]

  def run(self, program, settings, batches, references, prepare_batches):
    """The parameters after one step on each of the batches.

    Args:
      program: `Program` of the method.
      settings: of the optimizer, as config.unlearn.NAME.optimizer.
      batches: [{"forget": half, "retain": half}], one a step. references: `reference(batches)`.
      prepare_batches: how many of them are one pass over forget, for `prepares`.
    """
    rates = rates_lib.rates(settings, len(batches))
    opt_state = program.init(self.start)
    pairs = list(zip(batches, references, strict=True))[:prepare_batches]
    passing = lambda: (self._gradients(program, self.start, *pair, prepared=True) for pair in pairs)
    for prepare in program.method.prepares:
      opt_state = prepare(opt_state, passing)
    # Laid out as the update leaves it, or the second step would compile it anew.
    opt_state = jax.device_put(opt_state, self._layout)
    params = jax.tree.map(jnp.copy, self.start)
    for batch, reference in zip(batches, references, strict=True):
      grads = self._gradients(program, params, batch, reference)
      params, opt_state = program.update(grads, opt_state, params, rates)
    return params

  def _gradients(self, program, params, batch, reference, prepared=False):
    grads = {}
    for half in ("forget", "retain"):
      if half not in (program.method.reads if prepared else program.steps_on):
        grads[half] = self._zeros
        continue
      loss = program.losses[half]
      z, pull = self._forward(params, _fields(batch[half], loss))
      slope = loss.slope(z, reference[half]._replace(generic=z.generic))
      grads[half] = self._backward(pull, slope)
    return grads


class _Loss:
  """A loss on embeddings, its gradient compiled, and whether it reads generic captions."""

  def __init__(self, loss):
    self.generic = loss is losses.contrastive_generic
    self.slope = jax.jit(jax.grad(loss))


def _fields(half, loss):
  """The half without generic captions, unless the loss reads them."""
  return {k: v for k, v in half.items() if k != "generic" or loss.generic}


class Program:
  """A method with given arguments and length, its update compiled for any learning rates.

  Args:
    name: a key of MAKERS. args: of its `make`. optimizer: config.unlearn.NAME.optimizer, of which
      the learning rate is not read. steps, seed: of the run.
  """

  def __init__(self, name, args, optimizer, steps, seed):
    def method_at(rates):
      chain = rates_lib.optimizer(optimizer, rates)
      return base.build(MAKERS[name], chain, args, steps=steps, seed=seed)

    def update(grads, opt_state, params, rates):
      tx = optax.with_extra_args_support(method_at(rates).tx)
      updates, opt_state = tx.update(
        grads["forget"], opt_state, params, retain_grads=grads["retain"]
      )
      return optax.apply_updates(params, updates), opt_state

    self.method = method_at(jnp.zeros(1))
    self.init = jax.jit(self.method.tx.init)
    self.update = jax.jit(update, donate_argnums=(1, 2))
    self.losses = {half: _Loss(loss) for half, loss in self.method.losses.items()}
    # Retain that only `prepares` read needs no gradient in the steps.
    self.steps_on = [half for half in self.method.reads if (name, half) not in _MEASURED_ONLY]
