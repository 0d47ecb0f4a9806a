"""Ways to compute attention, from the joint projection to the joined heads."""

import jax
import jax.numpy as jnp


def _plain(qkv, heads, causal):
  """(B, T, 3 W) -> (B, T, W). Softmax in float32."""
  batch, places, _ = qkv.shape
  # The axis of heads moves before that of places once, not in each product, which halves the time
  # of attention on CPUs.
  q, k, v = qkv.reshape(batch, places, 3, heads, -1).transpose(2, 0, 3, 1, 4)
  scores = jnp.einsum("bhqd,bhkd->bhqk", q, k, preferred_element_type=jnp.float32)
  scores = scores * q.shape[-1] ** -0.5
  if causal:
    seen = jnp.tril(jnp.ones((places, places), bool))
    scores = scores + jnp.where(seen, 0.0, -jnp.inf)[None, None].astype(jnp.float32)
  weights = jax.nn.softmax(scores, axis=-1).astype(v.dtype)
  y = jnp.einsum("bhqk,bhkd->bhqd", weights, v)
  return y.transpose(0, 2, 1, 3).reshape(batch, places, -1)


def _cudnn(qkv, heads, causal):
  """As `_plain`, by one kernel of cuDNN that keeps no scores (Dao et al., arXiv 2205.14135)."""
  batch, places, _ = qkv.shape
  # JAX passes only even numbers of places to cuDNN. No other place attends to an added one: it
  # comes last in causal attention, and is masked otherwise.
  odd = places % 2
  qkv = jnp.pad(qkv, ((0, 0), (0, odd), (0, 0)))
  q, k, v = jnp.moveaxis(qkv.reshape(batch, places + odd, 3, heads, -1), 2, 0)
  seen = jnp.full(batch, places, jnp.int32) if odd and not causal else None
  y = jax.nn.dot_product_attention(
    q, k, v, is_causal=causal, key_value_seq_lengths=seen, implementation="cudnn"
  )
  return y[:, :places].reshape(batch, places, -1)


# Name -> attention(qkv (B, T, 3 W), heads, causal) -> (B, T, W). "cudnn" needs an NVIDIA GPU and
# bfloat16.
ATTENTION = {"plain": _plain, "cudnn": _cudnn}
