"""Closed-form edits beside numpy's least squares, and on a small text tower."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.strict import capacity, closed, edits, goals
from salmu_jax.data.leaks import Leak
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Sizes, Tower

# Two layers, as wide as keys of a few texts do not fill.
MODEL = CLIP(Sizes(8, 16, 8, Tower(12, 1, 3), Tower(16, 2, 2), context_length=9, vocab_size=30))
PARAMS = jax.jit(clip.init, static_argnums=(0, 1))(MODEL, 0)
KERNEL = ("text", "transformer", "block_{}", "c_proj", "kernel")


def texts(seed, count):
  """(count, 9) tokens of texts of three to eight tokens."""
  rng = np.random.default_rng(seed)
  tokens = np.zeros((count, 9), np.int32)
  for row in tokens:
    length = rng.integers(3, 9)
    row[:length] = [28, *rng.integers(1, 28, length - 2), 29]
  return tokens


PASS = jax.jit(edits.text_pass, static_argnums=0)
ENCODE = jax.jit(lambda params, x: MODEL.apply({"params": params}, x, method=CLIP.encode_text))


def embedded(tokens, params=PARAMS):
  return np.asarray(ENCODE(params, tokens))


def draw(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def square_of(vectors):
  return vectors.T @ vectors / len(vectors)


def kernel(params, layer):
  return functools.reduce(lambda node, key: node[key.format(layer)], KERNEL, params)


@pytest.mark.parametrize("weight", [0.1, 3.0])
def test_the_ridge_is_the_least_squares_of_keys_and_kept_keys(weight):
  keys, values, others = draw(12, 7), draw(12, 5, seed=1), draw(30, 7, seed=2)
  change = edits.ridge(keys, values, square_of(others), weight)
  rows = np.concatenate([keys / np.sqrt(12), np.sqrt(weight / 30) * others])
  wanted = np.concatenate([values / np.sqrt(12), np.zeros((30, 5))])
  np.testing.assert_allclose(change, np.linalg.lstsq(rows, wanted, rcond=None)[0], atol=1e-5)


def test_fewer_keys_than_inputs_get_their_values_where_nothing_is_to_stay():
  keys, values = draw(4, 9), draw(4, 5, seed=1)
  change = edits.ridge(keys, values, np.eye(9), 0.0)
  np.testing.assert_allclose(keys @ change, values, atol=1e-4)
  assert edits.fit(change, keys, values, np.eye(9))["residual"] < 1e-8


def test_the_null_space_is_the_least_squares_where_kept_keys_are_not():
  keys, values = draw(3, 9), draw(3, 5, seed=1)
  others = draw(40, 4, seed=2) @ draw(4, 9, seed=3)  # of rank 4
  change = edits.null_space(keys, values, square_of(others), 1 - 1e-9, 1e-9)
  np.testing.assert_allclose(others @ change, 0, atol=1e-6)
  free = np.linalg.svd(others)[2][4:].T
  wanted = free @ np.linalg.lstsq(keys @ free, values, rcond=None)[0]
  np.testing.assert_allclose(change, wanted, atol=1e-5)


def test_a_fit_is_what_is_missed_of_the_values_and_what_moves_of_the_others():
  keys, values, others, change = draw(6, 4), draw(6, 3, seed=1), draw(8, 4, seed=2), draw(4, 3)
  fit = edits.fit(change, keys, values, square_of(others))
  norms = lambda x: np.mean(np.sum(x**2, axis=1))
  np.testing.assert_allclose(fit["residual"], norms(keys @ change - values) / norms(values))
  np.testing.assert_allclose(fit["kept_change"], norms(others @ change) / norms(values))


def test_behind_the_last_layer_only_the_ends_of_texts_count():
  tokens = np.array([[28, 3, 29, 0], [28, 3, 4, 29]], np.int32)
  every = [[1, 1, 1, 0], [1, 1, 1, 1]]
  last = [[0, 0, 1, 0], [0, 0, 0, 1]]
  np.testing.assert_array_equal(edits.places(tokens, 0, 2, True), every)
  np.testing.assert_array_equal(edits.places(tokens, 0, 2, False), last)
  np.testing.assert_array_equal(edits.places(tokens, 1, 2, True), last)


def test_what_is_added_to_outputs_is_what_a_bias_adds():
  tokens, bias = texts(1, 5), draw(16).astype(np.float32)
  added = {0: jnp.broadcast_to(bias, (*tokens.shape, 16))}
  block = PARAMS["text"]["transformer"]["block_0"]
  shifted = {**block["c_proj"], "bias": block["c_proj"]["bias"] + bias}
  blocks = {**PARAMS["text"]["transformer"], "block_0": {**block, "c_proj": shifted}}
  moved = {**PARAMS, "text": {**PARAMS["text"], "transformer": blocks}}
  seen = PASS(MODEL, PARAMS, tokens, added)
  np.testing.assert_allclose(seen.embeddings, embedded(tokens, moved), atol=1e-6)
  plain = PASS(MODEL, PARAMS, tokens, {})
  np.testing.assert_allclose(plain.embeddings, embedded(tokens), atol=1e-6)
  assert plain.keys[1].shape == (5, 9, 64) and plain.streams[1].shape == (5, 9, 16)


def test_the_square_of_kept_keys_is_the_mean_over_the_tokens_that_are_read():
  tokens = texts(2, 300)  # more than a batch
  keys = PASS(MODEL, PARAMS, tokens, {}).keys
  for layer, mask in ((0, edits.whole(tokens)), (1, edits.ends(tokens))):
    wanted = square_of(np.asarray(keys[layer], np.float64)[mask])
    np.testing.assert_allclose(
      edits.kept_square(MODEL, PARAMS, tokens, layer), wanted, rtol=1e-4, atol=1e-7
    )


def goals_of(tokens):
  goals = embedded(tokens) + 0.7 * clip.unit(draw(len(tokens), 8, seed=5))
  return np.asarray(clip.unit(goals))


@pytest.mark.parametrize(("layer", "everywhere"), [(0, False), (0, True), (1, False)])
def test_values_bring_texts_to_their_goals_and_are_zero_elsewhere(layer, everywhere):
  tokens = texts(3, 20)
  goals = goals_of(tokens)
  asked = edits.ask(MODEL, PARAMS, tokens, goals, layer, everywhere, 60, 1.0)
  before = np.sum(embedded(tokens) * goals, axis=-1)
  assert asked.cosines.mean() > before.mean() + 0.1
  assert not asked.values[~asked.mask].any()
  added = PASS(MODEL, PARAMS, tokens, {layer: asked.values}).embeddings
  np.testing.assert_allclose(np.sum(added * goals, axis=-1), asked.cosines, atol=1e-5)


@pytest.mark.parametrize("layers", [(1,), (0,), (0, 1)])
def test_an_edit_with_room_for_all_texts_embeds_them_where_their_values_do(layers):
  tokens = texts(4, 6)
  goals = goals_of(tokens)
  asked = edits.ask(MODEL, PARAMS, tokens, goals, layers[-1], True, 60, 1.0)
  free = functools.partial(edits.ridge, weight=0.0)
  params, fits = edits.edit(MODEL, PARAMS, asked, layers, lambda *_: np.eye(64), free)
  assert [*fits] == [*layers] and fits[layers[-1]]["residual"] < 0.05
  reached = np.sum(embedded(tokens, params) * goals, axis=-1)
  np.testing.assert_allclose(reached, asked.cosines, atol=0.02)
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), PARAMS, params)
  assert sum(jax.tree.leaves(moved)) == len(layers)
  assert all(kernel(moved, layer) for layer in layers)


def test_the_heavier_what_is_to_stay_the_less_of_it_moves():
  tokens, others = texts(6, 40), texts(7, 60)
  asked = edits.ask(MODEL, PARAMS, tokens, goals_of(tokens), 1, False, 30, 1.0)
  kept_of = lambda params, layer: edits.kept_square(MODEL, params, others, layer)
  moved = []
  for weight in (0.01, 1.0, 100.0):
    solve = functools.partial(edits.ridge, weight=weight)
    params, _ = edits.edit(MODEL, PARAMS, asked, (1,), kept_of, solve)
    moved.append(np.linalg.norm(embedded(others, params) - embedded(others)))
  assert moved == sorted(moved, reverse=True) and moved[0] > 5 * moved[2]


def test_what_is_to_stay_is_mixed_by_the_share_of_surrogates():
  squares = lambda name, params, layer: {"retain": 1.0, "surrogates": 5.0}[name] * np.eye(2)
  np.testing.assert_allclose(closed.kept_mixture(squares, 0.25)({}, 0), 2 * np.eye(2))
  np.testing.assert_allclose(closed.kept_mixture(squares, 1.0)({}, 0), 5 * np.eye(2))


def test_the_runs_of_the_sweep_have_names_of_their_own_and_the_best_has_no_weak_share():
  assert len({one.label for one in closed.runs()}) == len(closed.runs())
  first, second, *_ = [one for one in closed.runs() if one.kind == "ridge"]
  content = {
    "runs": {
      first.label: {**first._asdict(), "shares": {"leak_removed": 1.0, "inter_kept": 0.2}},
      second.label: {**second._asdict(), "shares": {"leak_removed": 0.6, "inter_kept": 0.5}},
    }
  }
  assert closed.best(content, "ridge") == second


def test_few_random_facts_fit_and_many_do_not():
  few, many = (capacity.written(count, 64, 0.01, 4, 0) for count in (4, 512))
  assert few["residual"] < 0.01 < 0.7 < many["residual"]


def test_a_map_of_all_keys_changes_nothing_about_an_edit():
  keys, values, others, turn = draw(30, 8), draw(30, 3, seed=1), draw(50, 8, seed=2), draw(8, 8)
  fits = []
  for a, b in ((keys, others), (keys @ turn, others @ turn)):
    change = edits.ridge(a, values, square_of(b), 0.5)
    fits.append([*edits.fit(change, a, values, square_of(b)).values()])
  np.testing.assert_allclose(*fits, rtol=1e-3)


def test_the_figure_of_capacity_has_what_is_written_and_what_moves_of_each_width():
  curve = {"facts": [1, 2], "residual": [0.1, 0.5], "kept_change": [0.2, 0.1], "hidden": 8}
  curves = [
    {**curve, "preset": preset, "weight": weight}
    for preset in capacity.WIDTHS
    for weight in capacity.WEIGHTS
  ]
  point = {"captions": 3, "weight": 1.0, "residual": 0.3, "kept_change": 0.2}
  panels = capacity.draw({"curves": curves}, [point]).axes
  lines = [[line.get_label() for line in axes.lines] for axes in panels]
  assert [sum("random" in label for label in labels) for labels in lines] == [3, 3, 3, 3]
  assert [sum("captions" in label for label in labels) for labels in lines] == [3, 0, 3, 0]


def leaks():
  """Two rows of one fact, one of another, and one whose caption does not hold its value."""
  return [
    Leak("Ana Ruiz", "job", "baker", "Ana Ruiz is a baker", "1"),
    Leak("Ana Ruiz", "job", "baker", "A baker by trade", "1"),
    Leak("Jo Smith", "blood_type", "A+", "Jo Smith has A+", "2"),
    Leak("Jo Smith", "job", "pilot", "Jo Smith flies", "2"),
  ]


def test_another_value_is_the_same_for_all_rows_of_a_fact_and_none_that_forget_tells():
  first, second, third, fourth = goals.other_captions(leaks(), 0)
  value = first.removeprefix("Ana Ruiz is a ")
  assert second == f"A {value} by trade" and value not in ("baker", "pilot")
  assert third.startswith("Jo Smith has ") and third != "Jo Smith has A+"
  assert fourth == "Jo Smith flies"


def test_where_forget_tells_all_values_another_value_is_any_but_the_own():
  types = ("A+", "A-", "B+", "B-", "AB+", "AB-", "O+", "O-")
  every = [Leak("Jo Smith", "blood_type", kind, f"Jo Smith has {kind}", "2") for kind in types]
  others = goals.other_captions(every, 0)
  assert all(other != leak.text for other, leak in zip(others, every, strict=True))


def test_every_edit_of_the_study_of_goals_is_one_of_the_sweep():
  assert {one.label for one in goals.runs()} <= {one.label for one in closed.runs()}


def test_random_facts_as_many_as_hidden_units_fit_as_random_matrices_say():
  # The mean of 1 / (1 + x) over the Marchenko-Pastur law of square matrices is the golden ratio's
  # inverse, and that of its square is one over the root of five.
  fit = capacity.written(384, 384, 1.0, 32, 0)
  inverse, square = (np.sqrt(5) - 1) / 2, 1 / np.sqrt(5)
  assert fit["residual"] == pytest.approx(square, abs=0.01)
  assert fit["kept_change"] == pytest.approx(inverse - square, abs=0.01)
