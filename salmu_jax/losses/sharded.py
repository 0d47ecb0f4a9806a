"""The losses of pretraining on a mesh in constant memory: caption shards go round the devices.

Drop-ins for `losses.contrastive`, `losses.sigmoid` and `losses.matching_accuracy`. With n rows on
each device, those hold n x B of the B x B scores there; these hold n x n at a time. Each device
keeps its images, and the caption shards pass by one after another. A shard carries its running
log-sum-exp, and in the backward pass its gradient. The backward pass is written out, because
autodiff through the ring would keep every shard that passed.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from salmu_jax.losses.loss import Loss
from salmu_jax.losses.similarity import similarities
from salmu_jax.models.clip import Embeddings
from salmu_jax.runtime.sharding import AXIS

_ROWS, _WHOLE = PartitionSpec(AXIS), PartitionSpec()


class _Sums(NamedTuple):
  """A running sum of exponentials, as top and total: exp(top) total. Both (n,).

  A single log-sum-exp is too coarse: at logits of 100, float32 resolves nothing below 1e-5, so a
  perfectly learnt pair would keep a gradient of that size.
  """

  top: jax.Array
  total: jax.Array

  def add(self, logits, axis):
    """The sums, with the exponentials of (n, n) logits added along `axis`."""
    top = jnp.maximum(self.top, jnp.max(logits, axis=axis))
    more = jnp.sum(jnp.exp(logits - jnp.expand_dims(top, axis)), axis=axis)
    return _Sums(top, self.total * jnp.exp(self.top - top) + more)

  def share(self, logits, axis):
    """The share of the sums that each of (n, n) logits has."""
    top, total = (jnp.expand_dims(x, axis) for x in self)
    return jnp.exp(logits - top) / total


def _go_round(visit, travelling, staying):
  """Shows the travelling part of each device to every device.

  Args:
    visit: visit(at_home, travelling, staying) -> (travelling, staying); at_home is true where the
      travelling part is the device's own.
    travelling, staying: trees of per-device arrays.

  Returns:
    Both, as the last visit left them; each travelling part is back on its own device.
  """
  size = jax.lax.axis_size(AXIS)
  onwards = [(i, (i + 1) % size) for i in range(size)]

  def turn(carry, number):
    travelling, staying = visit(number == 0, *carry)
    return (jax.lax.ppermute(travelling, AXIS, onwards), staying), None

  carry, _ = jax.lax.scan(turn, (travelling, staying), jnp.arange(size))
  return carry


def _own(at_home, n):
  """(n, n), 1 at the true pairs: the diagonal of the block at home."""
  return jnp.eye(n) * at_home


def _gradients(weigh, image, text, scale, per_caption=()):
  """Gradients of a loss whose derivative with respect to the logits is `weigh`.

  Args:
    weigh: weigh(at_home, logits (n, n), per_caption) -> dL/dlogits (n, n).
    image, text: (n, D). per_caption: what travels along with the captions.

  Returns:
    (n, D) by image; (n, D) by text; () sum of dL/dlogits x cosine, and of dL/dlogits.
  """

  def visit(at_home, travelling, staying):
    text, per_caption, d_text = travelling
    d_image, d_scale, total = staying
    cosines = similarities(image, text)
    weight = weigh(at_home, scale * cosines, per_caption)
    d_text = d_text + scale * similarities(weight.T, image.T)
    d_image = d_image + scale * similarities(weight, text.T)
    sums = d_scale + jnp.sum(weight * cosines, axis=1), total + jnp.sum(weight, axis=1)
    return (text, per_caption, d_text), (d_image, *sums)

  zeros = jnp.zeros_like(image[:, 0])
  start = (text, per_caption, jnp.zeros_like(text)), (jnp.zeros_like(image), zeros, zeros)
  (_, _, d_text), (d_image, d_scale, total) = _go_round(visit, *start)
  whole = lambda x: jax.lax.psum(jnp.sum(x), AXIS)
  return d_image, d_text, whole(d_scale), whole(total)


def _all_rows(image):
  return image.shape[0] * jax.lax.axis_size(AXIS)


@jax.custom_vjp
def _contrastive(image, text, scale):
  """The loss of the whole batch, from this device's part: (n, D), (n, D), () -> ()."""
  return _contrastive_forward(image, text, scale)[0]


def _contrastive_forward(image, text, scale):
  def visit(at_home, travelling, staying):
    (text, by_caption), (by_image, positive) = travelling, staying
    logits = scale * similarities(image, text)
    positive = jnp.where(at_home, jnp.diagonal(logits), positive)
    return (text, by_caption.add(logits, 0)), (by_image.add(logits, 1), positive)

  zeros = jnp.zeros_like(image[:, 0])
  empty = _Sums(jnp.full_like(zeros, -jnp.inf), zeros)
  (_, by_caption), (by_image, positive) = _go_round(visit, (text, empty), (empty, zeros))
  both = [sums.top - positive + jnp.log(sums.total) for sums in (by_image, by_caption)]
  loss = jax.lax.pmean(jnp.mean(sum(both)) / 2, AXIS)
  return loss, (image, text, scale, by_image, by_caption)


def _contrastive_backward(residuals, cotangent):
  image, text, scale, by_image, by_caption = residuals
  share = cotangent / (2 * _all_rows(image))

  def weigh(at_home, logits, by_caption):
    own = _own(at_home, len(logits))
    return share * ((by_image.share(logits, 1) - own) + (by_caption.share(logits, 0) - own))

  d_image, d_text, d_scale, _ = _gradients(weigh, image, text, scale, by_caption)
  return d_image, d_text, d_scale


_contrastive.defvjp(_contrastive_forward, _contrastive_backward)


@jax.custom_vjp
def _sigmoid(image, text, scale, bias):
  """As `_contrastive`, for the sigmoid loss."""
  return _sigmoid_forward(image, text, scale, bias)[0]


def _sigmoid_forward(image, text, scale, bias):
  def visit(at_home, text, staying):
    sign = 2 * _own(at_home, len(text)) - 1
    logits = scale * similarities(image, text) + bias
    return text, staying - jnp.sum(jax.nn.log_sigmoid(sign * logits), axis=1)

  _, sums = _go_round(visit, text, jnp.zeros_like(image[:, 0]))
  return jax.lax.pmean(jnp.mean(sums), AXIS), (image, text, scale, bias)


def _sigmoid_backward(residuals, cotangent):
  image, text, scale, bias = residuals
  share = cotangent / _all_rows(image)

  def weigh(at_home, logits, _):
    return share * (jax.nn.sigmoid(logits + bias) - _own(at_home, len(logits)))

  return _gradients(weigh, image, text, scale)


_sigmoid.defvjp(_sigmoid_forward, _sigmoid_backward)


def _accuracy(image, text):
  own = jnp.sum(image * text, axis=-1)

  def visit(at_home, text, best):
    cosines = jnp.where(_own(at_home, len(text)) > 0, -jnp.inf, similarities(image, text))
    return text, jnp.maximum(best, jnp.max(cosines, axis=1))

  _, best = _go_round(visit, text, jnp.full_like(own, -jnp.inf))
  return jax.lax.pmean(jnp.mean((own > best).astype(jnp.float32)), AXIS)


def _over(mesh, function, rows, scalars):
  """`function` on every device of the mesh; its first `rows` arrays are split by row, the last
  `scalars` are replicated.
  """
  specs = (_ROWS,) * rows + (_WHOLE,) * scalars
  return jax.shard_map(function, mesh=mesh, in_specs=specs, out_specs=_WHOLE)


def contrastive(mesh: jax.sharding.Mesh) -> Loss:
  """CLIP's loss, `losses.contrastive`, in memory that does not grow with the devices of `mesh`."""
  whole = _over(mesh, _contrastive, 2, 1)
  return lambda z, reference=None: whole(z.image, z.text, z.scale)


def sigmoid(mesh: jax.sharding.Mesh) -> Loss:
  """SigLIP's loss, `losses.sigmoid`, in memory that does not grow with the devices of `mesh`."""
  whole = _over(mesh, _sigmoid, 2, 2)
  return lambda z, reference=None: whole(z.image, z.text, z.scale, z.bias)


def matching_accuracy(mesh: jax.sharding.Mesh) -> Callable[[Embeddings], jax.Array]:
  """`losses.matching_accuracy` in memory that does not grow with the devices of `mesh`."""
  whole = _over(mesh, _accuracy, 2, 0)
  return lambda z: whole(z.image, z.text)
