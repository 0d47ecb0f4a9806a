"""The frontier of the strict verdict: its levers, its kept runs and its tables."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import STAND_IN
from methodruns import BATCHES, ONE, PARAMS, after_a_step

from experiments.anchored import variants
from experiments.anchored.bench import factory
from experiments.strict import (
  frontier,
  frontier_picture,
  frontier_table,
  width,
)
from salmu_jax import losses, train
from salmu_jax.aot import slices
from salmu_jax.errors import InputError
from salmu_jax.methods import anchored, runs
from salmu_jax.models import clip
from salmu_jax.runtime import files


@pytest.mark.parametrize("label", frontier.LEVERS)
def test_every_lever_makes_a_step(label):
  lever = frontier.LEVERS[label]
  own = frontier.settings(lever=lever)
  make = lever.make(4) if lever.make else factory("anchored", own.args.to_dict(), 4, 0)
  method = make(optax.sgd(0.1))
  state = train.start_state(PARAMS, method.tx, ONE)
  _, metrics = jax.eval_shape(train.make_unlearn_step(STAND_IN, method), state, PARAMS, BATCHES[0])
  assert {"forget_loss", "retain_loss"} <= set(metrics)


def test_a_lever_without_a_change_is_the_method_itself():
  methods = [
    variants.like(losses.component_removed, anchors=frontier.ANCHORS)(optax.sgd(1.0)),
    anchored.make(optax.sgd(1.0), **frontier.ARGS),
  ]
  jax.tree.map(np.testing.assert_array_equal, *map(after_a_step, methods))


def test_a_margin_that_the_target_has_no_use_for_is_refused():
  with pytest.raises(InputError, match=r"margin = 0\.1 needs target = 'mismatched'"):
    anchored.make(optax.sgd(1.0), target="removed", margin=0.1)


def test_token_embeddings_move_first_and_all_moves_later():
  tx = frontier.tokens_first(4)
  state = tx.init(PARAMS)
  ones = jax.tree.map(jnp.ones_like, PARAMS)
  for step in range(4):
    updates, state = tx.update(ones, state)
    assert float(updates["text"]["token_embedding"]["embedding"].min()) == 1
    assert float(updates["text"]["text_projection"].max()) == (step >= 2)


def test_the_loss_by_rank_is_that_of_a_loop_and_takes_equal_surrogates_for_one():
  rng = np.random.default_rng(0)
  draw = lambda: clip.unit(jnp.asarray(rng.normal(size=(2, 3, 8)), jnp.float32))
  old, new = draw().at[1, 2].set(draw()[0, 0]), draw()
  old = old.at[0, 1].set(old[0, 0])
  embedded = lambda x: clip.Embeddings(x[:, 0], x[:, 0], jnp.ones(()), surrogate=x)
  flat_old, flat_new, terms = old.reshape(6, 8), new.reshape(6, 8), []
  for i in range(6):
    weights = np.exp(50 * np.asarray(flat_old @ flat_new[i], np.float64))
    own = [j for j in range(6) if float(flat_old[i] @ flat_old[j]) > 1 - 1e-6]
    terms.append(1 - flat_old[i] @ flat_new[i] - np.log(weights[own].sum() / weights.sum()) / 50)
  value = frontier.ranked_retention(embedded(new), embedded(old))
  np.testing.assert_allclose(value, np.mean(terms), rtol=1e-5)
  # Where nothing has moved, an embedding that is there twice is not told from itself.
  assert float(frontier.ranked_retention(embedded(old), embedded(old))) < 0.02


def test_kept_runs_have_the_settings_of_their_labels():
  first = frontier_table.record("seed-0")["runs"]
  for budget in frontier.BUDGETS:
    right = runs.training_settings(frontier.settings(budget))
    assert first[frontier.at(budget)]["settings"] == right
  for label, lever in frontier.LEVERS.items():
    assert first[label]["settings"] == runs.training_settings(frontier.settings(lever=lever))
  for seed in frontier.SEEDS:
    record = frontier_table.record(f"seed-{seed}")
    assert record["seed"] == seed and record["unit"] == "fact"
    assert {frontier.at(variants.COMPARED), variants.at(variants.COMPARED)} <= set(record["runs"])
  assert frontier_table.record("pair-0")["unit"] == "pair"


def test_tables_have_a_row_for_every_clause_lever_and_share():
  judged = lambda name: len(frontier_table.record(name)["runs"][frontier.at(5.0)]["clauses"])
  clauses = judged("seed-0")
  for table in (frontier_table.budgets(), frontier_table.seeds()):
    assert len(table.splitlines()) == clauses + 3
  assert len(frontier_table.pair().splitlines()) == judged("pair-0") + 3
  assert len(frontier_table.levers().splitlines()) == len(frontier.LEVERS) + 4
  assert len(frontier_table.shares().splitlines()) == 4
  assert len(frontier_table.prices().splitlines()) == clauses + 2


def test_the_picture_shows_the_budgets_and_the_levers():
  figure = frontier_picture.draw()
  labels = [text.get_text() for text in figure.legends[0].get_texts()]
  assert len(labels) == 4 and set(frontier_picture._LABELS) < set(labels)


def test_at_full_width_the_step_fits_a_slice_calls_no_host_and_moves_the_text_tower_alone():
  kept = files.read_json(width.RESULTS)
  for target in anchored.TARGETS:
    slice_, step = kept["compiled"][target], kept["one_step"][target]
    assert slice_["memory"] < slices.CHIPS["v5e"].hbm and slice_["host"] == []
    assert step["moved"]["text"] > 0 == step["moved"]["visual"]
    assert width.config(target).unlearn.anchored.batch_size == slice_["batch"]
  assert len(width.section().splitlines()) == 4


def test_an_unknown_part_is_refused_with_the_known_ones(capsys):
  with pytest.raises(SystemExit):
    frontier.main(["somewhere", "bugdets"])
  assert "parts are budgets, levers, tokens, shares, seeds, pair" in capsys.readouterr().err
