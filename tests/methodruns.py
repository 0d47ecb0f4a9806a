"""Short runs of every method by the trainer's step, compiled once for all test files."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from little import STAND_IN, sgd_settings, stand_in_params, unlearning_batch

from salmu_jax import train
from salmu_jax.methods import MAKERS, base
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

PARAMS = stand_in_params()
ONE = sharding.make_mesh(jax.devices()[:1])
STEPS = 4
BATCHES = [unlearning_batch(seed) for seed in range(STEPS)]
MEASURED = BATCHES[:2]  # what `prepares` see


def robust(name, **args):
  """A composed method that is made robust in this way."""
  return dict(loss="bounded_ascent", chain=("add_retain",), robust=(name, args))


# Transformations that no named method has, and ways to be robust, under the same contract.
COMPOSED = {
  "adversary": robust("adversary", every=3, learning_rate=1e-2),
  "contexts": robust("contexts", radius=0.2),
  "sam": robust("sam", rho=0.5),
  "undo": robust("undo", alpha=0.2),
  "limits": dict(
    loss="ascent",
    chain=(
      "add_retain",
      "divide_by_importance",
      ("trust_region", {"radius": 1e-4}),
      ("train_only", {"patterns": ("^text/", "proj")}),
    ),
  ),
  "every way to measure": dict(
    loss=("bounded_ascent", {"margin": 0.1}),
    chain=(
      "project_conflicts",
      "project_out",
      ("project_both", {"sides": "inputs", "share": 0.5}),
      ("collapse_common", {"share": 0.5}),
      ("keep_salient", {"fraction": 0.4}),
      "select_layers",
    ),
  ),
}


def make(name, optimizer, **args):
  if name in COMPOSED:
    return base.build(MAKERS["compose"], optimizer, COMPOSED[name], steps=STEPS, seed=0)
  return base.build(MAKERS[name], optimizer, args, steps=STEPS, seed=0)


class Run:
  """A method on a mesh, its parameters split by `rules`, its step compiled."""

  def __init__(self, name, mesh, rules=sharding.REPLICATED, settings=None, steps=STEPS):
    self.method = make(name, optimizers.make_optimizer(settings or sgd_settings(), steps))
    layout = train.state_layout(PARAMS, self.method.tx, mesh, rules)
    self.mesh, self.reference = mesh, jax.device_put(PARAMS, layout.params)
    self.step = train.jitted_unlearn_step(STAND_IN, self.method, mesh, layout=layout)
    self.fresh = self.start = train.start_state(PARAMS, self.method.tx, mesh, layout)
    if self.method.prepares:
      gradients = train.jitted_gradients(STAND_IN, self.method, mesh, layout=layout)
      passing = lambda: (gradients(self.reference, self.put(batch)) for batch in MEASURED)
      self.start = train.prepared(self.fresh, self.method, passing, mesh, layout)

  def put(self, batch):
    return jax.tree.map(lambda x: sharding.put_whole_batch(np.asarray(x), self.mesh), batch)

  def walk(self, state, batches):
    """The state after the batches, and the metrics of each step; `state` is not donated."""
    state, rows = jax.tree.map(jnp.copy, state), []
    for batch in batches:
      state, metrics = self.step(state, self.reference, self.put(batch))
      rows.append({k: float(v) for k, v in jax.device_get(metrics).items()})
    return state, rows


def after_a_step(method):
  """The parameters after one step of a method from PARAMS."""
  state = train.start_state(PARAMS, method.tx, ONE)
  step = jax.jit(train.make_unlearn_step(STAND_IN, method))
  return step(state, PARAMS, BATCHES[0])[0].params


@functools.cache
def whole_run(name):
  """(Run on one device, its state after all steps, the metrics of each)."""
  alone = Run(name, ONE)
  return alone, *alone.walk(alone.start, BATCHES)
