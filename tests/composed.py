"""Composed methods of any parts, and small trees to put through them."""

import jax.numpy as jnp
from little import sgd_settings
from trees import random_tree

from salmu_jax.methods import base, compose, parts
from salmu_jax.train import optimizers

SMALL = {"text": {"kernel": jnp.ones((2, 2))}, "visual": {"kernel": jnp.ones(3)},
         "other": {"kernel": jnp.ones(4)}}  # fmt: skip
EDITS = [name for name, entry in parts.CHAIN.items() if entry.stands == parts.INSTEAD]
# Arguments of the parts that cannot do without.
NEEDED = {
  "scale": {"step_size": 0.5}, "clip": {"max_norm": 1.0}, "alternate": {"until": 2},
  "hold_unimportant": {"weight": 0.1}, "train_only": {"patterns": "^text/"},
  "trust_region": {"radius": 0.1}, "reflect": {"coefficient": 1.0}, "add_noise": {"sigma": 0.1},
  "dampen": {"alpha": 1.0, "strength": 1.0}, "add_noise_by_importance": {"alpha": 1e-6},
}  # fmt: skip


def make(loss, *chain, **others):
  chain = [(name, NEEDED[name]) if name in NEEDED else name for name in chain]
  optimizer = optimizers.make_optimizer(sgd_settings(), 4)
  args = {"loss": loss, "chain": tuple(chain), **others}
  return base.build(compose.make, optimizer, args, steps=4, seed=0)


def draw(seed):
  return random_tree(seed, SMALL)
