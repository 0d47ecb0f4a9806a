"""The study of anchored caption editing: its intervals, its variants and its questions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import STAND_IN
from methodruns import BATCHES, ONE, PARAMS

from experiments.anchored import bench, intervals, study, tabulate, variants
from salmu_jax import train
from salmu_jax.methods import METHODS, runs
from salmu_jax.methods import anchored as method
from salmu_jax.train import optimizers


def scores(**changes):
  keys = ("RetFail_MRR", "AssocStr", "GenKnow", "InterIdSim", "IntraIdSim", "VisIdInt", "FragSim")
  return dict.fromkeys(keys, 0.5) | changes


CLEAN = scores(RetFail_MRR=0.0, AssocStr=0.1, InterIdSim=0.1, IntraIdSim=0.1)
COMPROMISED = scores(RetFail_MRR=0.4, AssocStr=0.7, InterIdSim=0.7, IntraIdSim=0.6)


def test_shares_are_of_the_gap_between_the_bounds_and_a_model_at_the_ideal_point_fails_no_clause():
  ideal = COMPROMISED | {"RetFail_MRR": 0.0, "AssocStr": 0.1}
  shares = intervals.shares(ideal, CLEAN, COMPROMISED)
  assert shares["leak removed"] == pytest.approx(1) and shares["InterIdSim kept"] == pytest.approx(
    1
  )
  assert intervals.clauses(shares) == []
  half = intervals.shares(COMPROMISED | {"IntraIdSim": 0.35, "GenKnow": 0.4}, CLEAN, COMPROMISED)
  assert half["IntraIdSim kept"] == pytest.approx(0.5) and half["GenKnow kept"] == pytest.approx(
    0.8
  )
  failed = ["RetFail_MRR", "IntraIdSim", "GenKnow", "AssocStr"]
  assert intervals.clauses(half) == failed
  assert intervals.clauses(intervals.mean([shares, half])) == failed


def record(seed, values):
  """A record in which every person has four rows of one value."""
  people = [str(p) for p in range(len(values))]
  sums = lambda rates: {
    key: {p: [4 * float(v), 4] for p, v in zip(people, rates, strict=True)}
    for key in intervals.GAPS
  }
  n = len(values)
  return {"seed": seed, "clean": {"by_identity": sums(np.zeros(n))},
          "compromised": {"by_identity": sums(np.ones(n))},
          "runs": {"x": {"by_identity": sums(values)}}}  # fmt: skip


def test_intervals_are_those_of_the_mean_over_people_and_shrink_with_seeds():
  values = np.random.default_rng(0).random(100)
  (low, high) = intervals.interval([record(0, values)], "x")["leak removed"]
  error = values.std() / 10
  assert low == pytest.approx(1 - values.mean() - 1.96 * error, abs=0.15 * error)
  assert high == pytest.approx(1 - values.mean() + 1.96 * error, abs=0.15 * error)
  four = intervals.interval([record(seed, values) for seed in range(4)], "x")["leak removed"]
  assert (four[1] - four[0]) == pytest.approx((high - low) / 2, rel=0.1)


def test_rows_of_one_person_are_drawn_together():
  few = intervals.interval([record(0, [0.0, 1.0])], "x")["leak removed"]
  assert few == (0.0, 1.0)  # two people, not eight rows


def test_a_rank_keeps_what_each_matrix_of_the_text_tower_moved_by_at_that_rank():
  tx = optax.chain(optax.sgd(1.0), variants.low_rank(2))
  state, params = tx.init(PARAMS), PARAMS
  draw = np.random.default_rng(0)
  for _ in range(2):
    grads = jax.tree.map(lambda x: jnp.asarray(draw.normal(size=x.shape), jnp.float32), PARAMS)
    updates, state = tx.update(grads, state, params)
    params = optax.apply_updates(params, updates)
  moved = np.linalg.svd(params["text"]["text_projection"] - PARAMS["text"]["text_projection"])[1]
  assert moved[1] > 0.5 and moved[2] < 1e-5
  assert np.linalg.matrix_rank(params["visual"]["proj"]["kernel"]) > 2


@pytest.mark.parametrize("name", variants.ABLATIONS)
def test_every_variant_makes_a_step_and_all_but_one_leave_the_image_tower(name):
  make, changes, _ = variants.ABLATIONS[name]
  settings = variants.settings(changes=changes)
  optimizer = optimizers.make_optimizer(settings.optimizer, 4)
  if "block" in name or "rank" in name or "token" in name:
    optimizer = optax.sgd(0.1)
  variant = make(optimizer)
  state = train.start_state(PARAMS, variant.tx, ONE)
  _, metrics = jax.eval_shape(train.make_unlearn_step(STAND_IN, variant), state, PARAMS, BATCHES[0])
  assert set(metrics) == {"forget_loss", "retain_loss", "update_norm"}


def test_the_whole_that_the_variants_are_compared_with_is_the_method():
  methods = [variants.like()(optax.sgd(1.0)), method.make(optax.sgd(1.0))]
  assert methods[0].surrogates == methods[1].surrogates
  values = []
  for whole in methods:
    state = train.start_state(PARAMS, whole.tx, ONE)
    after, _ = jax.jit(train.make_unlearn_step(STAND_IN, whole))(state, PARAMS, BATCHES[0])
    values.append(after.params)
  jax.tree.map(np.testing.assert_array_equal, *values)
  assert METHODS["anchored"] is method.make


def test_unpaired_batches_have_the_surrogates_of_later_ones_and_their_own_rows():
  batches = [{"forget": {"text": k, "surrogate": 100 + k}, "retain": k} for k in range(60)]
  later = list(bench._unpaired(iter(batches)))
  assert [b["forget"]["text"] for b in later] == list(range(35)) == [b["retain"] for b in later]
  assert [b["forget"]["surrogate"] for b in later] == [125 + k for k in range(35)]


def test_an_unknown_part_of_the_study_is_refused_with_the_known_ones(capsys):
  with pytest.raises(SystemExit):
    study.main(["runs", "frontiers"])
  assert "no part 'frontiers'; parts are frontier" in capsys.readouterr().err


def test_the_kept_runs_are_of_the_settings_in_the_config():
  for record in tabulate.records().values():
    for label, run in record["runs"].items():
      if label.startswith("anchored "):
        budget = float(label.split()[1].rstrip("x"))
        assert run["settings"] == runs.training_settings(variants.settings(budget=budget)), label
