"""The towers against OpenCLIP's formulas, and options that must not change the function."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf

from salmu_jax.models import attention, clip
from salmu_jax.models.clip import CLIP, Sizes, Tower

SIZES = Sizes(8, 16, 8, Tower(12, 2, 3), Tower(8, 2, 2), context_length=7, vocab_size=20)
MODEL = CLIP(SIZES)
PARAMS = jax.jit(lambda: clip.init(MODEL, 0))()
APPLY = jax.jit(lambda params, images, tokens: MODEL.apply({"params": params}, images, tokens))
IMAGES = np.random.default_rng(0).normal(size=(3, 16, 16, 3)).astype(np.float32)
TOKENS = np.array(
  [[18, 3, 4, 19, 0, 0, 0], [18, 5, 19, 0, 0, 0, 0], [18, 1, 2, 3, 4, 5, 19]], np.int32
)


def numpy_tower(p, x, heads, mask):
  """OpenCLIP's residual attention blocks in numpy and float64."""

  def norm(q, y):
    mean, var = y.mean(-1, keepdims=True), y.var(-1, keepdims=True)
    return (y - mean) / np.sqrt(var + 1e-5) * q["scale"] + q["bias"]

  def dense(q, y):
    return y @ q["kernel"] + q["bias"]

  for i in range(len(p)):
    b = p[f"block_{i}"]
    q, k, v = np.split(dense(b["in_proj"], norm(b["ln_1"], x)), 3, axis=-1)
    attended = np.zeros_like(x)
    size = x.shape[-1] // heads
    for h in range(heads):
      part = slice(h * size, (h + 1) * size)
      scores = q[:, part] @ k[:, part].T / np.sqrt(size)
      scores = np.where(mask, scores, -np.inf)
      weights = np.exp(scores - scores.max(-1, keepdims=True))
      attended[:, part] = weights / weights.sum(-1, keepdims=True) @ v[:, part]
    x = x + dense(b["out_proj"], attended)
    hidden = dense(b["c_fc"], norm(b["ln_2"], x))
    x = x + dense(b["c_proj"], hidden * (1 + erf(hidden / np.sqrt(2))) / 2)
  return x, norm


def test_towers_equal_openclips_formulas_written_in_numpy():
  p = jax.tree.map(lambda x: np.asarray(x, np.float64), PARAMS)
  vision, text = p["visual"], p["text"]
  z = APPLY(PARAMS, IMAGES, TOKENS)
  for row in range(3):
    patches = IMAGES[row].reshape(2, 8, 2, 8, 3).transpose(0, 2, 1, 3, 4).reshape(4, -1)
    x = np.concatenate(
      [vision["class_embedding"][None], patches @ vision["conv1"]["kernel"].reshape(-1, 12)]
    )
    norm = numpy_tower({}, x, 3, True)[1]
    x = norm(vision["ln_pre"], x + vision["positional_embedding"])
    x, _ = numpy_tower(vision["transformer"], x, 3, True)
    image = norm(vision["ln_post"], x[0]) @ vision["proj"]
    np.testing.assert_allclose(z.image[row], image / np.linalg.norm(image), atol=2e-6)

    x = text["token_embedding"]["embedding"][TOKENS[row]] + text["positional_embedding"]
    x, _ = numpy_tower(text["transformer"], x, 2, np.tril(np.ones((7, 7), bool)))
    caption = norm(text["ln_final"], x[list(TOKENS[row]).index(19)]) @ text["text_projection"]
    np.testing.assert_allclose(z.text[row], caption / np.linalg.norm(caption), atol=2e-6)


def test_surrogates_are_embedded_as_any_caption_is():
  surrogate = np.stack([TOKENS, TOKENS[::-1]], axis=1)
  z = MODEL.apply({"params": PARAMS}, IMAGES, TOKENS, surrogate=surrogate)
  assert z.surrogate.shape == (3, 2, SIZES.embed_dim) and z.generic is None
  np.testing.assert_allclose(z.surrogate[:, 0], z.text, atol=1e-6)
  np.testing.assert_allclose(z.surrogate[:, 1], z.text[::-1], atol=1e-6)


def test_tokens_after_the_end_of_text_change_nothing():
  other = TOKENS.copy()
  other[0, 4:] = 7
  same, before = APPLY(PARAMS, IMAGES, other).text, APPLY(PARAMS, IMAGES, TOKENS).text
  np.testing.assert_allclose(same, before, atol=1e-6)


@pytest.mark.parametrize(
  "options",
  [{"remat": "blocks"}, {"scan": True}, {"remat": "blocks", "scan": True}, {"remat": "products"}],
)
def test_remat_and_scan_change_neither_values_nor_gradients(options):
  other = CLIP(SIZES, **options)
  layout = clip.stack_layers if options.get("scan") else (lambda p: p)

  def total(model, params):
    z = model.apply({"params": params}, IMAGES, TOKENS)
    return jnp.sum(z.image * z.text)

  value, grads = jax.jit(jax.value_and_grad(lambda p: total(MODEL, p)))(PARAMS)
  other_value, other_grads = jax.jit(jax.value_and_grad(lambda p: total(other, p)))(layout(PARAMS))
  np.testing.assert_allclose(value, other_value, atol=1e-6)
  for a, b in zip(jax.tree.leaves(layout(grads)), jax.tree.leaves(other_grads), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_scanned_model_initialises_in_the_stacked_layout():
  shapes = jax.tree.map(jnp.shape, jax.eval_shape(lambda: clip.init(CLIP(SIZES, scan=True), 0)))
  assert shapes == jax.tree.map(jnp.shape, clip.stack_layers(PARAMS))


def test_unstacking_undoes_stacking_to_the_bit_and_neither_acts_twice():
  stacked = clip.stack_layers(PARAMS)
  back = clip.unstack_layers(stacked)
  assert jax.tree.structure(back) == jax.tree.structure(PARAMS)
  assert all(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a == b).all()), back, PARAMS)))
  assert jax.tree.structure(clip.stack_layers(stacked)) == jax.tree.structure(stacked)
  assert jax.tree.structure(clip.unstack_layers(PARAMS)) == jax.tree.structure(PARAMS)


def test_quick_gelu_is_openais_activation():
  block = clip.Block(
    Tower(8, 1, 2), jnp.float32, quick_gelu=True, flat=True, attention="plain", texts=None
  )
  x = np.random.default_rng(1).normal(size=(1, 3, 8)).astype(np.float32)
  params = block.init(jax.random.key(0), x)["params"]
  # With attention silenced, the block is x + c_proj(activation(c_fc(ln_2(x)))).
  params["out_proj"]["kernel"] = jnp.zeros_like(params["out_proj"]["kernel"])
  norm = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
  hidden = norm @ np.asarray(params["c_fc"]["kernel"])
  expected = x + (hidden / (1 + np.exp(-1.702 * hidden))) @ np.asarray(params["c_proj"]["kernel"])
  np.testing.assert_allclose(block.apply({"params": params}, x), expected, atol=1e-5)


def test_gelu_is_exact():
  x = np.linspace(-30, 30, 1001).astype(np.float32)
  wide = x.astype(np.float64)
  np.testing.assert_allclose(clip._gelu(x), wide * 0.5 * (1 + erf(wide / 2**0.5)), atol=2e-6)


def test_patches_are_a_convolution_whose_stride_is_its_size():
  patches = clip.Patches(5, 8)
  params = patches.init(jax.random.key(0), IMAGES)
  kernel = params["params"]["kernel"]
  dimensions = ("NHWC", "HWIO", "NHWC")
  expected = jax.lax.conv_general_dilated(
    IMAGES, kernel, (8, 8), "VALID", dimension_numbers=dimensions
  )
  expected = expected.reshape(len(IMAGES), -1, 5)
  np.testing.assert_allclose(patches.apply(params, IMAGES), expected, atol=1e-5)


@pytest.mark.parametrize("places", [6, 7])
@pytest.mark.parametrize("causal", [False, True])
def test_cudnns_attention_is_the_plain_one_for_odd_places_too(monkeypatch, places, causal):
  by_xla = jax.nn.dot_product_attention

  def by_cudnn(q, k, v, *, implementation, **options):
    assert implementation == "cudnn" and q.shape[1] % 2 == 0
    return by_xla(q, k, v, implementation="xla", **options)

  monkeypatch.setattr(jax.nn, "dot_product_attention", by_cudnn)
  qkv = np.random.default_rng(0).normal(size=(2, places, 3 * 8)).astype(np.float32)
  total = lambda x, name: jnp.sum(jnp.sin(attention.ATTENTION[name](x, 2, causal)))
  value, grad = jax.value_and_grad(total)(qkv, "cudnn")
  plain_value, plain_grad = jax.value_and_grad(total)(qkv, "plain")
  np.testing.assert_allclose(value, plain_value, atol=1e-5)
  np.testing.assert_allclose(grad, plain_grad, atol=1e-5)


def test_bfloat16_compute_keeps_float32_parameters_and_embeddings():
  half = CLIP(SIZES, dtype=jnp.bfloat16)
  params = jax.jit(lambda: clip.init(half, 0))()
  assert {x.dtype for x in jax.tree.leaves(params)} == {jnp.dtype("float32")}
  z = jax.jit(lambda p: half.apply({"params": p}, IMAGES, TOKENS))(params)
  assert z.image.dtype == z.text.dtype == jnp.float32
  np.testing.assert_allclose(jnp.linalg.norm(z.image, axis=-1), 1.0, atol=1e-6)
  whole = APPLY(params, IMAGES, TOKENS)
  np.testing.assert_allclose(z.text, whole.text, atol=0.05)


def test_logit_scale_starts_as_clips_and_is_capped_at_one_hundred():
  scale = lambda p: MODEL.apply({"params": p}, method=CLIP.scale)
  np.testing.assert_allclose(scale(PARAMS), 1 / 0.07, rtol=1e-6)
  assert scale({**PARAMS, "logit_scale": jnp.asarray(9.0)}) == 100.0


def test_vit_b16_has_openclips_number_of_parameters():
  from salmu_jax.models.presets import PRESETS

  # 86,192,640 in the visual tower and 63,428,096 + 1 in the rest, as OpenCLIP reports for ViT-B-16.
  shapes = jax.eval_shape(lambda: clip.init(CLIP(PRESETS["vit_b16"]), 0))
  count = lambda tree: sum(x.size for x in jax.tree.leaves(tree))
  assert count(shapes["visual"]) == 86_192_640
  assert count(shapes) == 149_620_737


def test_initial_parameters_depend_on_the_seed_alone():
  init = jax.jit(clip.init, static_argnums=(0, 1))
  again, other = init(MODEL, 0), init(MODEL, 1)
  same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), PARAMS, again)
  assert all(jax.tree.leaves(same))
  assert not jnp.all(PARAMS["visual"]["proj"] == other["visual"]["proj"])


def test_dense_layers_over_rows_in_one_axis_change_neither_values_nor_gradients():
  loss = lambda model: (
    lambda p: jnp.sum(jnp.square(model.apply({"params": p}, IMAGES, TOKENS).image[:, :2]))
  )
  params = jax.jit(lambda: clip.init(CLIP(SIZES), 0))()
  either = [jax.jit(jax.value_and_grad(loss(CLIP(SIZES, flat=f))))(params) for f in (True, False)]
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *either)
