"""The study of anchored caption editing: its variants, its tables and its kept runs."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from little import STAND_IN
from methodruns import BATCHES, ONE, PARAMS, after_a_step

from configs import mini
from experiments.anchored import bench, picture, study, tabulate, variants
from salmu_jax import train
from salmu_jax.methods import METHODS, runs
from salmu_jax.methods import anchored as method
from salmu_jax.results import lookup, recoverability
from salmu_jax.runtime import files
from salmu_jax.train import optimizers

MINI = pathlib.Path(__file__).parent.parent / "experiments" / "mini" / "results"


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
  jax.tree.map(np.testing.assert_array_equal, *map(after_a_step, methods))
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


def clause(name, value, least=None, most=None):
  holds = (least is None or value >= least) and (most is None or value <= most)
  return {"name": name, "label": f"label of {name}", "value": value, "low": None, "high": None,
          "least": least, "most": most, "holds": holds, "why": ""}  # fmt: skip


def test_the_table_of_clauses_gives_means_and_limits_and_marks_what_holds_in_every_run():
  made = lambda leak, fact: {
    "clauses": [clause("leak_removed", leak, least=0.99), clause("FactLeak_new", fact, 0.1, 0.2)]
  }
  columns = {"one": [made(0.995, 0.3)], "two": [made(0.98, 0.12), made(1.0, 0.18)]}
  table = tabulate.clause_table(columns).splitlines()
  assert table[0] == "| clause | required | one | two |"
  assert table[2] == (
    "| label of leak_removed | at least 99.0% | **99.5%** | 99.0% (98.0% to 100.0%) |"
  )
  assert (
    table[3] == "| label of FactLeak_new | 0.100 to 0.200 | 0.300 | **0.150 (0.120 to 0.180)** |"
  )
  assert table[4] == "| *clauses that hold* | of 2 | 1 | 1, 2 |"


def test_the_picture_places_a_model_by_the_holdout_that_loses_more():
  keys = ("RetFail_MRR", "InterIdSim", "IntraIdSim", "InterIdRet_MRR", "IntraIdRet_MRR")
  bounds = dict.fromkeys(keys, 0.0), dict.fromkeys(keys, 1.0)
  scores = dict(zip(keys, (0.1, 0.8, 0.7, 0.4, 0.5), strict=True)) | {"FactLeak_new": 0.3}
  assert picture.cosine_place(scores, bounds) == pytest.approx((0.3, 0.1))
  assert picture.fact_place(scores, bounds) == pytest.approx((0.6, 0.3))


def test_the_kept_runs_are_of_the_settings_in_the_config():
  for record in tabulate.records().values():
    for label, run in record["runs"].items():
      if label.startswith("anchored "):
        budget = float(label.split()[1].rstrip("x"))
        assert run["settings"] == runs.training_settings(variants.settings(budget=budget)), label


def test_the_kept_run_at_the_budget_of_mini_is_the_one_on_its_leaderboard():
  run = tabulate.seeds()[0]["runs"][variants.at(mini.BUDGET)]
  kept = files.read_json(MINI / "anchored.json")
  assert run["scores"] == pytest.approx(lookup.flatten(kept), abs=1e-3)
  assert {key: found["value"] for key, found in run["attacks"].items()} == pytest.approx(
    recoverability.values(kept, run["attacks"]), abs=5e-3
  )
