"""The losses on a mesh: values and gradients of the definition, in memory that does not grow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from salmu_jax import losses
from salmu_jax.losses import sharded
from salmu_jax.models.clip import Embeddings, unit
from salmu_jax.runtime import sharding

RINGS = {
  "contrastive": (losses.contrastive, sharded.contrastive),
  "sigmoid": (losses.sigmoid, sharded.sigmoid),
}


def embeddings(rows=16, width=6, scale=14.0, bias=-3.0, seed=0, aligned=0.5):
  """Random pairs; of cosine 1 with `aligned` = 1."""
  rng = np.random.default_rng(seed)
  image = rng.normal(size=(rows, width))
  text = aligned * image + (1 - aligned) * rng.normal(size=(rows, width))
  image, text = (unit(jnp.asarray(x, jnp.float32)) for x in (image, text))
  return Embeddings(image, text, jnp.float32(scale), bias=jnp.float32(bias))


def mesh_of(devices):
  return sharding.make_mesh(jax.devices()[:devices])


def placed(z, mesh):
  rows, whole = sharding.over_batch(mesh), sharding.replicated(mesh)
  place = lambda x: None if x is None else jax.device_put(x, rows if x.ndim else whole)
  return Embeddings(*map(place, z))


@pytest.mark.parametrize("devices", [1, 2, 8])
@pytest.mark.parametrize("name", RINGS)
@pytest.mark.parametrize(
  "z",
  [
    embeddings(),
    embeddings(scale=1.0, bias=0.0, seed=1),
    embeddings(scale=100.0, bias=-10.0, seed=2),
    embeddings(scale=100.0, aligned=1.0, seed=3),
    embeddings(scale=1000.0, bias=50.0, seed=4),
  ],
  ids=["usual", "cold", "the largest scale", "learnt by heart", "large logits"],
)
def test_the_ring_has_the_value_and_the_gradients_of_the_definition(name, devices, z):
  plain, make = RINGS[name]
  mesh = mesh_of(devices)
  expected, references = jax.value_and_grad(plain)(z)
  value, grads = jax.jit(jax.value_and_grad(make(mesh)))(placed(z, mesh))
  np.testing.assert_allclose(value, expected, rtol=1e-6, atol=1e-6 * max(1.0, float(z.scale) / 100))
  for field, grad in grads._asdict().items():
    if grad is None:
      continue
    reference = getattr(references, field)
    reference = jnp.zeros_like(grad) if reference is None else reference
    size = max(1.0, float(jnp.max(jnp.abs(reference))))
    # A logit of float32 is right to 2^-24 of itself, and so are the probabilities of both.
    atol = max(1e-6, 2**-23 * float(z.scale))
    np.testing.assert_allclose(grad / size, reference / size, atol=atol, err_msg=field)


def test_the_sigmoid_loss_is_the_mean_of_its_yes_and_no_answers():
  z = embeddings(rows=3)
  total = 0.0
  for i in range(3):
    for j in range(3):
      logit = float(z.scale * jnp.sum(z.image[i] * z.text[j]) + z.bias)
      total += np.log1p(np.exp(-logit if i == j else logit))
  np.testing.assert_allclose(losses.sigmoid(z), total / 3, rtol=1e-5)


@pytest.mark.parametrize("devices", [1, 2, 8])
def test_the_accuracy_counts_what_the_definition_counts(devices):
  mesh = mesh_of(devices)
  z = embeddings(rows=32, seed=5, aligned=0.4)
  accuracy = losses.matching_accuracy(z)
  assert 0 < accuracy < 1
  ring_accuracy = jax.jit(sharded.matching_accuracy(mesh))(placed(z, mesh))
  np.testing.assert_allclose(ring_accuracy, accuracy, rtol=1e-6)


def test_a_collapsed_model_has_no_accuracy_on_a_mesh_either():
  z = embeddings()
  z = z._replace(image=jnp.ones_like(z.image) / 6**0.5, text=jnp.ones_like(z.text) / 6**0.5)
  assert jax.jit(sharded.matching_accuracy(mesh_of(8)))(placed(z, mesh_of(8))) == 0


def scratch(loss, devices, rows=64, width=16):
  """Bytes that a device needs for a loss and its gradients besides inputs and outputs."""
  mesh = mesh_of(devices)
  row, whole = sharding.over_batch(mesh), sharding.replicated(mesh)
  shaped = lambda shape, where: jax.ShapeDtypeStruct(shape, jnp.float32, sharding=where)
  matrix, scalar = shaped((rows * devices, width), row), shaped((), whole)
  z = Embeddings(matrix, matrix, scalar, bias=scalar)
  layout = Embeddings(row, row, whole, bias=whole)
  compiled = jax.jit(jax.grad(loss(mesh)), out_shardings=layout).lower(z).compile()
  return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("name", RINGS)
def test_the_ring_s_memory_does_not_grow_with_the_devices_and_the_definition_s_does(name):
  plain, ring = RINGS[name]
  few, many = scratch(ring, 2), scratch(ring, 8)
  assert many <= 1.02 * few
  definition = lambda mesh: plain
  assert scratch(definition, 8) > 2 * scratch(definition, 2)
  assert many < scratch(definition, 8)
