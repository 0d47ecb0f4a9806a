"""Unlearning runs: where their settings come from, and what their models depend on."""

import json

from configs import methods, mini, smoke
from salmu_jax import defaults
from salmu_jax.methods import runs


def test_results_say_where_the_settings_are_from():
  tuned, published = (methods.runs("finetune", size)["finetune"] for size in ("mini", "vit_b16"))
  assert runs.tuning(tuned) == "tuned" and runs.tuning(published) == "reproduction"
  tuned.budget = 1.0
  assert runs.tuning(tuned) == "tuned"
  tuned.optimizer.learning_rate *= 2
  assert runs.tuning(tuned) == "own"
  assert runs.tuning(defaults.unlearning_run("mine")) == "own"
  assert runs.tuning(None) is None


def test_every_method_that_mini_runs_is_tuned_and_none_of_smoke():
  assert {runs.tuning(run) for run in mini.get_config().unlearn.values()} == {"tuned"}
  assert {runs.tuning(run) for run in smoke.get_config("all").unlearn.values()} == {"own"}


def test_no_model_depends_on_what_is_said_of_its_settings():
  claims = [defaults.unlearning_run("salun", tuning=tuning) for tuning in runs.TUNINGS]
  settings = [runs.training_settings(run) for run in claims]
  assert settings[0] == settings[1] == settings[2]
  assert not any("tuning" in field for field in settings[0])


def test_settings_of_a_composed_run_can_be_named():
  chain = ("munba", ("keep_salient", {"fraction": 0.3}))
  run = defaults.unlearning_run("compose", args=dict(loss="npo", chain=chain), tuning="tuned")
  assert runs.tuning(run) == "tuned"
  assert json.dumps(runs.training_settings(run))
