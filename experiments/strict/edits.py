"""Closed-form edits of the text tower's MLP output matrices, as pure functions.

MEMIT (Meng et al., arXiv 2210.07229) treats the output matrix of an MLP as a memory that maps a
token's key, its hidden activations, to a value. Least squares writes new values for some keys into
the matrix, and holds the values of other keys. AlphaEdit (Fang et al., arXiv 2410.02355) writes
into the null space of the held keys instead. EMCID (Xiong et al., arXiv 2403.13807) edits the text
encoder of a diffusion model in this way.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from salmu_jax.data import pipeline
from salmu_jax.models import lengths
from salmu_jax.models.clip import CLIP

# Makes the least squares solvable; as a share of the mean square of an input.
_DAMPING = 1e-6
_BATCH = 256  # texts
# Solves the least squares: solve(keys (N, I), values (N, O), kept (I, I)) -> (I, O).
Solve = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def ridge(keys: np.ndarray, values: np.ndarray, kept: np.ndarray, weight: float) -> np.ndarray:
  """MEMIT's edit: (I, O), the D that minimises

    mean |k D - r|^2 + weight x mean |k0 D|^2 + damping |D|^2

  over keys k with their values r, and over held keys k0.

  Args:
    keys: (N, I).
    values: (N, O), the wanted changes of the keys' outputs.
    kept: (I, I), the mean of k0 k0'.
    weight: of the held keys.
  """
  square = keys.T @ keys / len(keys)
  damping = _DAMPING * np.trace(square + weight * kept) / len(kept)
  penalty = weight * kept + damping * np.eye(len(kept))
  return np.linalg.solve(square + penalty, keys.T @ values / len(keys))


def null_space(
  keys: np.ndarray, values: np.ndarray, kept: np.ndarray, share: float, damping: float = 1e-3
) -> np.ndarray:
  """AlphaEdit's edit: (I, O), the P D that minimises

    mean |k P D - r|^2 + damping x mean |k|^2 / I x |D|^2

  P projects away from the leading eigenvectors of `kept` that hold a share of its trace.

  Args:
    keys, values, kept: as for `ridge`.
    share: of the trace of `kept`.
    damping: of the least squares.
  """
  values_, vectors = np.linalg.eigh(kept)
  before = np.cumsum(values_[::-1])[::-1] - values_
  free = vectors[:, before >= share * values_.sum()]
  inside = keys @ free
  damping = damping * np.mean(np.sum(keys**2, axis=1)) / len(kept)
  square = inside.T @ inside / len(keys) + damping * np.eye(free.shape[1])
  return free @ np.linalg.solve(square, inside.T @ values / len(keys))


def fit(
  change: np.ndarray, keys: np.ndarray, values: np.ndarray, kept: np.ndarray
) -> dict[str, float]:
  """How well a change of the matrix fits.

  Args:
    change: (I, O).
    keys, values, kept: as for `ridge`.

  Returns:
    {"residual": share of the values' squared norm that is not written, "kept_change": mean square
    change of held outputs over the mean square of the values}.
  """
  square = np.mean(np.sum(values**2, axis=1))
  missed = np.mean(np.sum((keys @ change - values) ** 2, axis=1))
  return {
    "residual": float(missed / square),
    "kept_change": float(np.sum(change * (kept @ change)) / square),
  }


class Pass(NamedTuple):
  """A forward pass of the text tower over B texts of T tokens.

  embeddings: (B, D) unit rows.
  keys: {layer: (B, T, I)}.
  streams: {layer: (B, T, W)}, the residual stream after the layer.
  """

  embeddings: jax.Array
  keys: dict[int, jax.Array]
  streams: dict[int, jax.Array]


def text_pass(
  model: CLIP, params: optax.Params, tokens: jax.Array, added: Mapping[int, jax.Array]
) -> Pass:
  """Embeds texts, with additions to the outputs of MLPs.

  Args:
    model: with unscanned blocks.
    params: the model's.
    tokens: (B, T).
    added: {layer: (B, T, W)}, added to the output of the layer's MLP.
  """
  keys, streams = {}, {}

  def watch(call, args, kwargs, context):
    outputs = call(*args, **kwargs)
    *_, parent, name = ("", "", *context.module.path)
    if name == "c_proj":
      layer = int(parent.removeprefix("block_"))
      keys[layer] = args[0]
      return outputs + added[layer] if layer in added else outputs
    if name.startswith("block_"):
      streams[int(name.removeprefix("block_"))] = outputs
    return outputs

  with nn.intercept_methods(watch):
    embeddings = model.apply({"params": params}, tokens, method=CLIP.encode_text)
  return Pass(embeddings, keys, streams)


def ends(tokens: np.ndarray) -> np.ndarray:
  """(B, T) bool, true at the end token of each text."""
  return np.arange(tokens.shape[1])[None] == lengths.of(tokens)[:, None] - 1


def whole(tokens: np.ndarray) -> np.ndarray:
  """(B, T) bool, true from the start token of each text to its end token."""
  return np.arange(tokens.shape[1])[None] < lengths.of(tokens)[:, None]


def places(tokens: np.ndarray, layer: int, layers: int, everywhere: bool) -> np.ndarray:
  """(B, T) bool: the tokens whose MLP outputs matter; in the last layer only end tokens do.

  Args:
    tokens: (B, T).
    layer: the edited layer.
    layers: number of layers of the tower.
    everywhere: whether all tokens of a text count, or its end token alone.
  """
  return whole(tokens) if everywhere and layer + 1 < layers else ends(tokens)


def batches(tokens: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
  """Yields (row numbers, tokens cut to length and padded to a batch) of all texts, by length."""
  order = np.argsort(lengths.of(tokens), kind="stable")
  for first in range(0, len(order), _BATCH):
    rows = order[first : first + _BATCH]
    yield rows, pipeline.filled(lengths.cut(tokens[rows]), _BATCH)


def kept_square(model: CLIP, params: optax.Params, tokens: np.ndarray, layer: int) -> np.ndarray:
  """(I, I): the mean of k k' over the keys of all tokens that later layers read.

  Args:
    model, params: see `text_pass`.
    tokens: (N, T) of the held texts.
    layer: of the keys.
  """
  total, count = 0.0, 0
  for rows, batch in batches(tokens):
    mask = places(batch, layer, model.sizes.text.layers, True)
    mask[len(rows) :] = False
    keys = np.asarray(_keys(model, params, batch, layer), np.float64)[mask]
    total, count = total + keys.T @ keys, count + len(keys)
  return total / count


@functools.partial(jax.jit, static_argnums=(0, 3))
def _keys(model, params, tokens, layer):
  return text_pass(model, params, tokens, {}).keys[layer]


def wanted_values(
  model: CLIP,
  params: optax.Params,
  tokens: np.ndarray,
  goals: np.ndarray,
  mask: np.ndarray,
  layer: int,
  steps: int,
  rate: float,
) -> tuple[np.ndarray, np.ndarray]:
  """The changes of a layer's MLP outputs that embed texts at their goals.

  Found by gradient descent on the sum of `1 - cos` of each text with its goal.

  Args:
    model, params: see `text_pass`.
    tokens: (B, T).
    goals: (B, D) unit rows.
    mask: (B, T) bool, the tokens whose outputs change.
    layer: of the MLP.
    steps, rate: of the descent.

  Returns:
    The changes (B, T, W), zero where the mask is false, and the cosines (B,) that they reach.
  """
  return jax.device_get(_descended(model, params, tokens, goals, mask, layer, steps, rate))


@functools.partial(jax.jit, static_argnums=(0, 5, 6))
def _descended(model, params, tokens, goals, mask, layer, steps, rate):
  descent = optax.sgd(rate)

  def cosines(change):
    added = {layer: jnp.where(mask[..., None], change, 0)}
    return jnp.sum(text_pass(model, params, tokens, added).embeddings * goals, axis=-1)

  def step(carry, _):
    change, state = carry
    grads = jax.grad(lambda x: jnp.sum(1 - cosines(x)))(change)
    updates, state = descent.update(grads, state)
    return (optax.apply_updates(change, updates), state), None

  start = jnp.zeros((*tokens.shape, model.sizes.text.width))
  (change, _), _ = jax.lax.scan(step, (start, descent.init(start)), None, length=steps)
  return jnp.where(mask[..., None], change, 0), cosines(change)


class Asked(NamedTuple):
  """Texts with the values that embed them at their goals.

  tokens: (N, T).
  layer: of the MLP that should output the values.
  mask: (N, T) bool, the tokens that have a value.
  values: (N, T, W), see `wanted_values`.
  cosines: (N,) with the goals, as reached by the values.
  """

  tokens: np.ndarray
  layer: int
  mask: np.ndarray
  values: np.ndarray
  cosines: np.ndarray


def ask(
  model: CLIP,
  params: optax.Params,
  tokens: np.ndarray,
  goals: np.ndarray,
  layer: int,
  everywhere: bool,
  steps: int,
  rate: float,
) -> Asked:
  """The values that embed texts at their goals.

  Args:
    model, params: see `text_pass`.
    tokens: (N, T).
    goals: (N, D) unit rows.
    layer, everywhere: see `places`.
    steps, rate: see `wanted_values`.
  """
  mask = places(tokens, layer, model.sizes.text.layers, everywhere)
  values = np.zeros((*tokens.shape, model.sizes.text.width), np.float32)
  cosines = np.zeros(len(tokens), np.float32)
  for rows, batch in batches(tokens):
    length, count = batch.shape[1], len(rows)
    filled = [pipeline.filled(x, _BATCH) for x in (goals[rows], mask[rows, :length])]
    change, reached = wanted_values(model, params, batch, *filled, layer, steps, rate)
    values[rows, :length], cosines[rows] = change[:count], reached[:count]
  return Asked(tokens, layer, mask, values, cosines)


def edit(
  model: CLIP,
  params: optax.Params,
  asked: Asked,
  layers: Sequence[int],
  kept_of: Callable[[optax.Params, int], np.ndarray],
  solve: Solve,
) -> tuple[optax.Params, dict[int, dict[str, float]]]:
  """The parameters with edited MLP output matrices, and how well each edit fits.

  As in MEMIT, each layer makes an equal share of the remaining change of the stream after the last
  edited layer.

  Args:
    model, params: see `text_pass`.
    asked: values for the last of the layers.
    layers: to edit, ascending.
    kept_of: kept_of(params, layer) -> (I, I), see `kept_square`.
    solve: solves the least squares.

  Returns:
    The parameters, and {layer: its `fit`}.
  """
  aim, fits = None, {}
  for number, layer in enumerate(layers):
    keys, stream = at(model, params, asked, layer)
    aim = stream + asked.values[asked.mask] if aim is None else aim
    values = (aim - stream) / (len(layers) - number)
    kept = kept_of(params, layer)
    change = solve(keys, values, kept)
    fits[layer] = fit(change, keys, values, kept)
    params = _with_change(params, layer, change)
  return params, fits


def at(
  model: CLIP, params: optax.Params, asked: Asked, layer: int
) -> tuple[np.ndarray, np.ndarray]:
  """Keys (K, I) of a layer, and the stream (K, W) after the layer of `asked`, at its K tokens."""
  keys = np.zeros((*asked.tokens.shape, 4 * model.sizes.text.width), np.float32)
  streams = np.zeros_like(asked.values)
  for rows, batch in batches(asked.tokens):
    length, count = batch.shape[1], len(rows)
    both = jax.device_get(_watched(model, params, batch, layer, asked.layer))
    keys[rows, :length], streams[rows, :length] = (x[:count] for x in both)
  return keys[asked.mask].astype(np.float64), streams[asked.mask].astype(np.float64)


@functools.partial(jax.jit, static_argnums=(0, 3, 4))
def _watched(model, params, tokens, layer, last):
  seen = text_pass(model, params, tokens, {})
  return seen.keys[layer], seen.streams[last]


def _with_change(params, layer, change):
  """The parameters with a change added to the MLP output matrix of a text tower layer."""
  add = lambda path, x: x + jnp.asarray(change, x.dtype) if _is_edited(path, layer) else x
  return jax.tree_util.tree_map_with_path(add, params)


def _is_edited(path, layer):
  name = jax.tree_util.keystr(path, simple=True, separator="/")
  return name == f"text/transformer/block_{layer}/c_proj/kernel"
