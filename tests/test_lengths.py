"""Texts as long as they are: what is behind the end of text changes nothing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from little import half

from salmu_jax import defaults, train
from salmu_jax.data import pipeline
from salmu_jax.models import clip, lengths
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.models.lengths import Groups
from salmu_jax.runtime import hosts, sharding
from salmu_jax.train import fitting, optimizers

CONTEXT, END = 40, 29
MODEL = CLIP(Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), CONTEXT, END + 1))
PARAMS = jax.jit(clip.init, static_argnums=(0, 1))(MODEL, 0)
EIGHT = sharding.make_mesh()
ENCODE = jax.jit(lambda tokens: MODEL.apply({"params": PARAMS}, tokens, method=CLIP.encode_text))


def texts(found, seed=0, context=CONTEXT):
  """Tokens of texts of these lengths."""
  tokens = np.random.default_rng(seed).integers(1, END, (len(found), context)).astype(np.int32)
  for row, length in zip(tokens, found, strict=True):
    row[length - 1], row[length:] = END, 0
  return tokens


def drawn(count, seed=0):
  """Lengths as captions have them: most short, some up to the context."""
  rng = np.random.default_rng(seed)
  return np.where(rng.random(count) < 0.8, rng.integers(3, 13, count), rng.integers(3, 41, count))


def test_a_length_counts_start_and_end_of_text_and_no_padding():
  tokens = np.array([[7, 1, 9, 0, 0], [7, 9, 0, 0, 0], [7, 1, 1, 1, 9]])
  np.testing.assert_array_equal(lengths.of(tokens), [3, 2, 5])


@pytest.mark.parametrize(
  ("longest", "cut_to"), [(2, 8), (8, 8), (9, 16), (32, 32), (33, 40), (40, 40)]
)
def test_a_batch_is_cut_to_the_shortest_length_that_holds_all_of_it(longest, cut_to):
  tokens = texts([3, longest])
  np.testing.assert_array_equal(lengths.cut(tokens), tokens[:, :cut_to])


def test_nothing_is_cut_where_a_text_fills_the_context():
  assert lengths.cut(texts([77, 3], context=77)).shape == (2, 77)


def test_embeddings_do_not_depend_on_the_length_that_texts_are_cut_to():
  tokens = texts([3, 7, 8, 2])
  np.testing.assert_allclose(ENCODE(lengths.cut(tokens)), ENCODE(tokens), atol=1e-6)


def test_groups_have_fewer_tokens_and_nearly_every_batch_fits_them():
  groups = lengths.choose(texts(drawn(2000)), 64, 2)
  assert sum(groups.counts) == 64 and list(groups.lengths) == sorted(groups.lengths)
  assert groups.lengths[-1] == CONTEXT
  assert np.dot(groups.counts, groups.lengths) < 0.7 * 64 * CONTEXT
  fits = [lengths.fit({"text": texts(drawn(128, k))}, {"text": groups}) for k in range(1, 400)]
  assert np.mean(fits) > 0.99


def test_there_are_no_groups_where_they_save_nothing():
  assert lengths.choose(texts([40] * 100), 64, 1) is None
  assert lengths.choose(texts([3] * 100, context=8), 64, 1) is None
  assert lengths.choose(texts([3] * 50), 1, 8) is None


def test_texts_of_a_row_are_counted_together_as_they_are_alike():
  alike = texts(np.repeat(drawn(600), 6)).reshape(600, 6, -1)
  groups = {"surrogate": lengths.choose(alike, 16, 1)}
  assert sum(groups["surrogate"].counts) == 96
  batches = [texts(np.repeat(drawn(16, k), 6)).reshape(16, 6, -1) for k in range(1, 300)]
  assert np.mean([lengths.fit({"surrogate": batch}, groups) for batch in batches]) > 0.99


def test_groups_are_chosen_for_every_text_of_a_batch():
  sample = {"forget": {"text": texts([40] * 90), "surrogate": texts([3] * 90).reshape(30, 3, -1)}}
  groups = lengths.choose_each(sample, 16, 4)
  assert list(groups["forget"]) == ["surrogate"]
  assert sum(groups["forget"]["surrogate"].counts) == 48


@pytest.mark.parametrize("parts", [1, 2])
def test_a_batch_fits_if_the_texts_of_every_shard_are_as_short_as_their_groups(parts):
  groups = {"text": Groups((2, 1), (8, CONTEXT), 2)}
  found = np.full(6 * parts, 8)
  found[[0, 3 * parts]] = CONTEXT  # one long text in a shard of either half
  assert lengths.fit({"text": texts(found)}, groups, parts)
  found[parts] = 9  # a second one in the first shard of the same part
  assert not lengths.fit({"text": texts(found)}, groups, parts)


def test_the_texts_of_several_pictures_fit_as_one():
  groups = {"forget": {"surrogate": Groups((5, 1), (8, CONTEXT))}}
  fits = lambda found: lengths.fit(
    {"forget": {"surrogate": texts(found).reshape(2, 3, -1)}}, groups
  )
  assert fits([8, 3, 3, 3, 40, 8]) and not fits([8, 9, 3, 3, 40, 8])


def test_texts_in_groups_come_back_in_their_order():
  tokens = texts([9, 3, 40, 8, 5, 4, 16, 3])
  groups = Groups((2, 1, 1), (8, 16, CONTEXT), 2)
  cut = jax.jit(
    lambda tokens: MODEL.apply({"params": PARAMS}, tokens, groups, method=CLIP.encode_text)
  )
  np.testing.assert_allclose(cut(tokens), ENCODE(tokens), atol=1e-6)


def test_packed_texts_hold_their_tokens_and_know_their_ends():
  tokens = texts([9, 3, 40, 8, 5, 4, 16, 3])
  groups = Groups((2, 1, 1), (8, 16, CONTEXT), 2)
  packed = lengths.pack(tokens, groups)
  assert packed.tokens.shape == (2, 2 * 8 + 16 + 40)
  for row, text in enumerate(tokens):
    shard, at = divmod(row, 4)
    end = int(packed.ends[shard, at])
    first = end - lengths.of(text) + 1
    np.testing.assert_array_equal(packed.tokens[shard, first : end + 1], text[: lengths.of(text)])
    np.testing.assert_array_equal(packed.places[first : end + 1], np.arange(lengths.of(text)))


def test_packed_tokens_split_into_the_texts_of_each_group_and_join_again():
  tokens = texts([9, 3, 40, 8, 5, 4, 16, 3])
  groups = Groups((2, 1, 1), (8, 16, CONTEXT), 2)
  packed = lengths.pack(tokens, groups).tokens[..., None]
  parts = lengths.split(packed, groups)
  assert [part.shape for part in parts] == [(4, 8, 1), (2, 16, 1), (2, CONTEXT, 1)]
  np.testing.assert_array_equal(parts[0][:, :, 0], tokens[[1, 3, 7, 5], :8])
  np.testing.assert_array_equal(lengths.join(parts, groups), packed)


def test_texts_in_groups_stay_on_their_devices():
  tokens = texts(np.tile([9, 3, 40, 8], 8))
  groups = Groups((3, 1), (16, CONTEXT), 8)
  rows = sharding.over_batch(EIGHT)
  encode = jax.jit(
    lambda tokens: MODEL.apply({"params": PARAMS}, tokens, groups, method=CLIP.encode_text),
    in_shardings=rows,
    out_shardings=rows,
  )
  text = encode.lower(jax.ShapeDtypeStruct(tokens.shape, jnp.int32)).compile().as_text()
  moves = ("all-gather", "all-reduce", "all-to-all", "collective-permute")
  assert not [move for move in moves if move in text]


def pair(found, seed=0):
  return {"image": half(seed, len(found))["image"], "text": texts(found, seed)}


TWO = sharding.make_mesh(jax.devices()[:2])
GROUPS = {"text": Groups((4, 4), (8, CONTEXT), 2)}
SHORT, LONG = np.tile([5, 8, 9, 40], 4), np.tile([40, 40, 9, 8], 4)
TX = optimizers.make_optimizer(defaults.optimizer(1e-2, name="sgd"), 10)


@functools.cache
def pretrain_step(cuts):
  return train.jitted_pretrain_step(MODEL, TX, TWO, groups=GROUPS if cuts else None)


def batch_of(found):
  """A batch, as a step takes it."""
  return next(train.in_batches(iter([pair(found)]), GROUPS, 1))


@pytest.mark.parametrize("found", [SHORT, LONG], ids=["fits", "is not valid"])
def test_a_step_that_cuts_texts_changes_parameters_as_one_that_does_not(found):
  start = lambda: train.start_state(PARAMS, TX, TWO)
  whole = pretrain_step(False)(start(), sharding.put_batch(pair(found), TWO))
  step = train.on_host_batches(pretrain_step(False), pretrain_step(True), TWO)
  cut = step(start(), batch_of(found))
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4), cut, whole)


def test_the_full_context_is_taken_for_a_batch_that_needs_it_alone():
  step = train.on_host_batches(lambda *_: "whole", lambda *_: "cut", TWO)
  taken = [step(None, batch_of(found)) for found in (SHORT, LONG, SHORT)]
  assert taken == ["cut", "whole", "cut"]


def test_processes_take_the_full_context_together_and_a_position_skips_no_batch(monkeypatch):
  found = (SHORT, LONG, SHORT, SHORT, SHORT)
  rows = [{"text": row} for k, each in enumerate(found) for row in texts(each, seed=k)]
  stream = pipeline.start(rows, len(SHORT))
  of_another = iter([False, False, True, False, False, False])
  monkeypatch.setattr(fitting.jax, "process_count", lambda: 2)
  monkeypatch.setattr(hosts, "any_of_all", lambda whole: whole or next(of_another))
  batches = train.in_batches(stream, GROUPS, 1)
  assert [next(batches).whole for _ in range(3)] == [False, True, False]
  position = batches.get_state()
  read = next(batches).rows["text"]
  np.testing.assert_array_equal(read, texts(SHORT, seed=3))
  batches.set_state(position)
  np.testing.assert_array_equal(next(batches).rows["text"], read)
