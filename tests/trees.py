"""Small trees of parameters and gradients, and steps on them."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

P = {"text": {"kernel": jnp.array([1.0, -2.0])}, "visual": {"kernel": jnp.array([[3.0], [0.5]])}}
F = {"text": {"kernel": jnp.array([0.3, -0.1])}, "visual": {"kernel": jnp.array([[0.2], [1.0]])}}
R = {"text": {"kernel": jnp.array([-1.0, 2.0])}, "visual": {"kernel": jnp.array([[0.5], [-0.4]])}}


def step(tx, updates=F, state=None, params=P, retain=R):
  state = tx.init(params) if state is None else state
  return tx.update(updates, state, params, retain_grads=retain, foreign="ignored")


def flat(tree):
  return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def passing(*pairs):
  """gradients() over (forget, retain) trees."""
  return lambda: ({"forget": f, "retain": r} for f, r in pairs)


def times(factor, tree):
  return jax.tree.map(lambda x: factor * x, tree)


def random_tree(seed, like=P):
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), like)


def walk(tx, steps, updates=F, retain=R):
  params, state = P, tx.init(P)
  for _ in range(steps):
    updated, state = tx.update(updates, state, params, retain_grads=retain)
    params = optax.apply_updates(params, updated)
  return params


def stacked(tree):
  """Two layers apart, and the same two in one array with a leading layer axis."""
  apart = {"block_0": {"kernel": tree["a"]}, "block_1": {"kernel": tree["b"]}}
  return apart, {"blocks": {"kernel": jnp.stack([tree["a"], tree["b"]])}}


def layer_trees():
  """Parameters, forget and retain gradients of two layers of different size, each in both
  layouts.
  """
  rng = np.random.default_rng(5)
  draw = lambda size: jnp.asarray(size * rng.normal(size=(30, 30)), jnp.float32)
  return zip(*(stacked({"a": draw(1.0), "b": draw(30.0)}) for _ in range(3)), strict=True)
