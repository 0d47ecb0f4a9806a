"""What CLIP's parameters are, by the names of their leaves: for optimizers, edits and sharding.

A leaf's name is the last key of its path: "kernel" in text/transformer/block_0/c_fc/kernel.
"""

from collections.abc import Sequence

import jax
import optax

# Matrices that map features to features.
MATRICES = frozenset({"kernel", "proj", "text_projection"})
# Matrices and tables: what weight decay shrinks. The rest are gains, biases, the class token and
# the logit scale.
DECAYED = MATRICES | {"embedding", "positional_embedding"}
# Rules for config.sharding that split parameters, gradients and optimizer states over the devices
# too: matrices and tables by their columns; gains, biases and the logit scale whole.
FSDP = ((rf"(^|/)({'|'.join(sorted(DECAYED))})$", ("data",)), (".*", ()))
# The key of scanned blocks, whose arrays have a leading axis of layers.
SCANNED = "blocks"
_TOKEN_EMBEDDING = ("text", "token_embedding", "embedding")


def is_matrix(path: Sequence[jax.tree_util.DictKey]) -> bool:
  """Whether the leaf at a path maps features to features."""
  return path[-1].key in MATRICES


def decayed(params: optax.Params) -> optax.Params:
  """A tree of bool like `params`, true where weight decay applies."""
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)


def is_scanned(path: Sequence) -> bool:
  """Whether the leaf at a path holds all layers of a tower, along its first axis."""
  return any(getattr(key, "key", None) == SCANNED for key in path)


def token_embedding(params: optax.Params) -> jax.Array:
  """The table of token embeddings, (vocabulary, width)."""
  tower, module, leaf = _TOKEN_EMBEDDING
  return params[tower][module][leaf]


def with_token_embedding(params: optax.Params, table: jax.Array) -> optax.Params:
  """`params` with another table of token embeddings."""
  tower, module, leaf = _TOKEN_EMBEDDING
  return {**params, tower: {**params[tower], module: {**params[tower][module], leaf: table}}}
