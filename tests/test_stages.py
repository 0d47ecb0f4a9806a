"""Stages: done once, refused with other settings, and a method's `prepare` gets what it is
promised.
"""

import contextlib
import itertools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from handmade import write

from configs import methods
from salmu_jax import defaults, losses, train
from salmu_jax.benchmark import judging, run, stages
from salmu_jax.data import imagenet, records, releases, tokenizers
from salmu_jax.data.dataset import check_rows
from salmu_jax.errors import InputError
from salmu_jax.interop import external_models
from salmu_jax.methods import MAKERS
from salmu_jax.methods.base import Method
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.runtime import files, sharding, workdir
from salmu_jax.train import checkpoint, writer


def test_a_stage_runs_once_and_keeps_its_facts(tmp_path):
  calls = []

  def work(folder):
    calls.append(folder)
    return {"steps": 3}

  for _ in range(2):
    facts = workdir.run_stage(tmp_path / "stage", "stage", {"seed": 0}, work)
    assert facts["steps"] == 3
  assert calls == [tmp_path / "stage"]


def test_a_stage_that_was_killed_is_gone_on_with(tmp_path):
  def die(folder):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    workdir.run_stage(tmp_path / "stage", "stage", {"seed": 0}, die)
  done = workdir.run_stage(tmp_path / "stage", "stage", {"seed": 0}, lambda folder: {"steps": 1})
  assert done["steps"] == 1


def test_other_settings_are_refused_with_both_values(tmp_path):
  workdir.run_stage(tmp_path / "stage", "stage", {"a": {"b": 1, "c": 2}}, lambda folder: {})
  with pytest.raises(InputError, match=r"a\.b was 1 and is 7"):
    workdir.check_settings(tmp_path / "stage", {"a": {"b": 7, "c": 2}})


@pytest.mark.parametrize("seconds, words", [(0.44, "0.4 s"), (42.4, "42 s"), (185, "3 min 05 s")])
def test_durations_are_for_people(seconds, words):
  assert workdir.duration(seconds) == words


def mean_gradient_first(seen):
  """A method that moves against the mean retain gradient that `prepare` left in its state."""

  def init(params):
    return jax.tree.map(jnp.zeros_like, params)

  def update(updates, state, params=None, **extra_args):
    del updates, params, extra_args
    return jax.tree.map(lambda g: -0.01 * g, state), state

  def prepare(opt_state, gradients):
    found = list(gradients())
    seen.append(found)
    return jax.tree.map(lambda *g: sum(g) / len(g), *(row["retain"] for row in found))

  tx = optax.GradientTransformationExtraArgs(init, update)
  return lambda optimizer: Method(
    losses.pair_similarity, losses.contrastive, tx, prepares=(prepare,)
  )


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
  folder = tmp_path_factory.mktemp("stages")
  opened = releases.open_release(write(folder / "release"))
  words = tokenizers.compact_tokenizer(16, ["a picture of a thing"])
  sizes = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), 16, words.vocab_size)
  config = defaults.get_config()
  config.tensorboard = False
  config.attacks.names = ()
  config.unlearn = {"mine": defaults.unlearning_run("mine", batch_size=4, budget=1.0)}
  rows = records.build(opened, folder / "records")
  mesh = sharding.make_mesh(jax.devices()[:1])
  return stages.Setup(config, folder, mesh, opened, rows, words, CLIP(sizes), None)


def test_prepare_gets_one_pass_of_gradients_at_the_start_and_its_state_is_used(setup, monkeypatch):
  seen = []
  monkeypatch.setitem(MAKERS, "mine", mean_gradient_first(seen))
  start = train.init_params(setup.model, 0, setup.mesh)
  end = stages.unlearn(setup, "mine", start)
  (found,) = seen
  assert len(found) == 3  # 12 rows of forget, 4 at a time
  with contextlib.closing(stages.unlearning_batches(setup, setup.config.unlearn.mine)) as stream:
    batches = list(itertools.islice(stream, 2))

  def loss(params, half):
    return losses.contrastive(train.embed(setup.model, params, half))

  expected = jax.jit(jax.grad(loss))(start, batches[1]["retain"])
  for a, b in zip(jax.tree.leaves(found[1]["retain"]), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  mean = jax.tree.map(lambda *g: sum(g) / 3, *(row["retain"] for row in found))
  for a, b, g in zip(*map(jax.tree.leaves, (end, start, mean)), strict=True):
    np.testing.assert_allclose(a, b - 3 * 0.01 * g, rtol=1e-4, atol=1e-6)


def test_results_say_where_the_settings_are_from():
  tuned, published = (methods.runs("salun", size)["salun"] for size in ("mini", "vit_b16"))
  assert judging.tuning(tuned) == "tuned" and judging.tuning(published) == "reproduction"
  tuned.budget = 1.0
  assert judging.tuning(tuned) == "tuned"
  tuned.optimizer.learning_rate *= 2
  assert judging.tuning(tuned) == "own"
  assert judging.tuning(defaults.unlearning_run("mine")) == "own"
  assert judging.tuning(None) is None


def test_results_say_which_parameters_moved_and_that_a_pass_was_spent_on_measuring(setup):
  facts = workdir.files.read_json(setup.model_folder("mine") / workdir.DONE)
  arrays = len(
    jax.tree.leaves(jax.eval_shape(lambda: train.init_params(setup.model, 0, setup.mesh)))
  )
  assert facts["prepare_passes"] == 1
  assert re.fullmatch(rf"\d+ of {arrays} arrays, \d+\.\d% of all parameters", facts["moves"])
  start = {"a": jnp.zeros(4), "b": jnp.zeros(12)}
  end = {"a": jnp.array([0.0, 0, 0, 1]), "b": jnp.zeros(12)}
  assert stages.moved(start, end) == "1 of 2 arrays, 6.2% of all parameters"


def test_a_run_that_goes_on_from_a_checkpoint_measures_nothing_again(setup, monkeypatch):
  seen = []
  monkeypatch.setitem(MAKERS, "mine", mean_gradient_first(seen))
  folder = setup.model_folder("mine")
  (folder / workdir.DONE).unlink()  # killed after the last checkpoint
  before = external_models.load_params(folder, setup.model, setup.mesh)
  after = stages.unlearn(setup, "mine", train.init_params(setup.model, 0, setup.mesh))
  assert seen == []
  jax.tree.map(np.testing.assert_array_equal, after, before)


def test_a_method_runs_without_retain_rows_only_if_it_reads_none(setup):
  kept = {split: rows for split, rows in setup.release.counts.items() if "retain" not in split}
  bare = setup._replace(release=setup.release._replace(counts=kept))
  for name in ("grad_diff", "delete"):
    bare.config.unlearn[name] = defaults.unlearning_run(name, batch_size=4, budget=1.0)
  with contextlib.closing(stages.unlearning_batches(bare, bare.config.unlearn.delete)) as stream:
    assert set(next(stream)) == {"forget"}
  run._check_unlearning(bare, "delete", bare.config.unlearn.delete)
  with pytest.raises(
    InputError, match=r"unlearn\.grad_diff reads retain, and the release has no rows"
  ):
    run._check_unlearning(bare, "grad_diff", bare.config.unlearn.grad_diff)
  for name in ("grad_diff", "delete"):
    del bare.config.unlearn[name]


def test_anchored_editing_moves_the_text_tower_alone_and_says_what_was_made_up(setup):
  own = setup.config.copy_and_resolve_references()
  own.unlearn = {"anchored": defaults.unlearning_run("anchored", batch_size=4, budget=1.0)}
  anchored = setup._replace(config=own)
  run._check_unlearning(anchored, "anchored", own.unlearn.anchored)
  wanted = stages.make_method(anchored, "anchored").surrogates
  # A step reads the forget and retain rows that every method's step reads, and the surrogates
  # beside them.
  streams = [stages.unlearning_batches(anchored, own.unlearn.anchored, w) for w in (None, wanted)]
  with contextlib.closing(streams[0]) as plain, contextlib.closing(streams[1]) as more:
    for _ in range(4):
      a, b = next(plain), next(more)
      assert b["forget"].pop("surrogate").shape == (4, 6, 16)
      jax.tree.map(np.testing.assert_array_equal, a, b)
  start = train.init_params(setup.model, 0, setup.mesh)
  end = stages.unlearn(anchored, "anchored", start)
  jax.tree.map(np.testing.assert_array_equal, end["visual"], start["visual"])
  assert not np.array_equal(end["text"]["text_projection"], start["text"]["text_projection"])
  facts = workdir.files.read_json(anchored.model_folder("anchored") / workdir.DONE)
  assert facts["surrogates"] == {"count": 6, "source": "both", "reworded": 0.0}
  assert facts["reads"] == ["forget", "retain_synth", "retain_real"]


def test_a_release_that_no_surrogates_can_be_made_of_is_refused_before_training(setup):
  own = setup.config.copy_and_resolve_references()
  settings = defaults.unlearning_run("anchored", batch_size=4, args=dict(source="generated"))
  own.unlearn = {"anchored": settings}
  captions = {k: {**v, "data_field": "emails"} for k, v in setup.release.captions.items()}
  people = {k: {**v, "shoe_size": "43"} for k, v in setup.release.identities.items()}
  captions[next(iter(captions))]["data_field"] = "shoe_size"
  opened = setup.release._replace(captions=captions, identities=people)
  odd = setup._replace(config=own, release=opened)
  with pytest.raises(InputError, match="no wordings for the field 'shoe_size'"):
    run._check_unlearning(odd, "anchored", settings)


def test_budget_counts_passes_over_forget_whatever_the_batch(setup):
  run = setup.config.unlearn.mine
  for size, budget, steps in ((4, 1.0, 3), (4, 5.0, 15), (6, 5.0, 10), (12, 0.01, 1)):
    run.update(batch_size=size, budget=budget)
    assert stages.unlearn_schedule(setup, "mine").total_steps == steps
  run.update(batch_size=4, budget=1.0)


def test_both_models_see_each_retain_row_equally_often(setup):
  settings = setup.config.pretrain
  steps = {n: stages.pretrain_schedule(setup, n).total_steps for n in ("clean", "compromised")}
  rows = {"clean": 21 + 17, "compromised": 21 + 17 + 24}
  for name, count in rows.items():
    assert steps[name] == round(settings.epochs * count / settings.batch_size)


def finished_model(folder, setup, scan=False):
  """A finished model folder as a run leaves it, and its parameters in the unrolled layout."""
  params = train.init_params(setup.model, 3, setup.mesh)
  stored = clip.stack_layers(params) if scan else params
  checkpoint.save_params(folder / "params", stored)
  tokenizers.save(setup.tokenizer, folder / "tokenizer.json")
  files.write_json(folder / "settings.json", {"seed": 3, "model": {"preset": "tiny", "scan": scan}})
  files.write_json(folder / "done.json", {})
  return params


def test_given_weights_with_another_vocabulary_are_refused(setup, tmp_path):
  config = setup.config.copy_and_resolve_references()
  config.init.clean = str(tmp_path)
  finished_model(tmp_path, setup)
  external_models.check(config, setup.folder, "clean", setup.tokenizer)
  with pytest.raises(InputError, match=r"config\.init\.clean .* another vocabulary"):
    external_models.check(
      config, setup.folder, "clean", tokenizers.compact_tokenizer(16, ["other words"])
    )


def test_given_weights_of_another_preset_are_refused_though_their_shapes_fit(setup, tmp_path):
  config = setup.config.copy_and_resolve_references()
  config.init.clean = str(tmp_path)
  config.model.preset = "vit_b16"
  finished_model(tmp_path, setup)
  path = tmp_path / "settings.json"
  made = files.read_json(path)
  files.write_json(path, {**made, "model": {**made["model"], "preset": "vit_b16_quickgelu"}})
  with pytest.raises(InputError, match=r"of the preset 'vit_b16_quickgelu'"):
    external_models.check(config, setup.folder, "clean", setup.tokenizer)


@pytest.mark.parametrize("split", ["sensitive", "retain_real"])
def test_a_training_split_without_rows_is_as_good_as_missing(setup, split):
  counts = {**setup.release.counts, split: 0}
  empty = setup._replace(release=setup.release._replace(counts=counts))
  run._check_trainable(setup, "compromised")
  with pytest.raises(InputError, match=f"has no split .*{split}.*cannot be trained"):
    run._check_trainable(empty, "compromised")


def test_a_judged_model_unlearned_from_another_compromised_is_refused_at_once(setup, tmp_path):
  finished_model(tmp_path, setup)
  path = tmp_path / "settings.json"
  made = files.read_json(path)
  config = setup.config.copy_and_resolve_references()
  config.judge.update(name="theirs", weights=str(tmp_path))
  other = setup._replace(config=config)
  for start in (None, stages.start_digest(setup)):
    files.write_json(path, {**made, "start": start})
    run._check_judged_start(other)
  files.write_json(path, {**made, "start": "another"})
  with pytest.raises(InputError, match=r"config\.judge\.weights .* another Compromised"):
    run._check_judged_start(other)


def test_learning_again_what_leaves_no_forget_row_to_look_at_is_refused(setup):
  config = setup.config.copy_and_resolve_references()
  config.unlearn, config.pretrain.batch_size = {}, 2
  config.attacks.names = ("Relearning",)
  config.attacks.relearning.batch_size = 12
  few = setup._replace(config=config, folder=setup.folder / "attacked")
  with pytest.raises(InputError, match="would learn 12 of the 12 rows of forget again"):
    run._check_stages(few)
  config.attacks.relearning.batch_size = 16
  with pytest.raises(
    InputError, match=r"config\.attacks\.relearning\.batch_size = 16 is larger than the 12 rows"
  ):
    run._check_stages(few)
  config.attacks.relearning.update(batch_size=4, shares=(0.5,))
  run._check_stages(few)


def test_a_batch_larger_than_either_half_of_the_data_is_refused(setup):
  config = setup.config.copy_and_resolve_references()
  config.unlearn.mine.method = "finetune"
  config.pretrain.batch_size = 2
  few = setup._replace(config=config, folder=setup.folder / "elsewhere")
  run._check_stages(few)
  counts = {**setup.release.counts, "retain_real": 1, "retain_synth": 2}
  short = few._replace(release=setup.release._replace(counts=counts))
  with pytest.raises(InputError, match=r"batch_size = 4 is larger than the 3 rows of retain"):
    run._check_stages(short)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("wanted", [False, True])
def test_given_weights_fit_a_scanned_and_an_unrolled_model(setup, tmp_path, stored, wanted):
  expected = finished_model(tmp_path, setup, scan=stored)
  found = external_models.load_params(tmp_path, setup.model.clone(scan=wanted), setup.mesh)
  expected = clip.stack_layers(expected) if wanted else expected
  assert jax.tree.structure(found) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_given_weights_of_another_width_are_refused_with_both_shapes(setup, tmp_path):
  finished_model(tmp_path, setup)
  wide = CLIP(setup.model.sizes._replace(vision=Tower(24, 1, 3)))
  with pytest.raises(InputError, match=r"another architecture: .*\(2, 2, 3, 24\)|\(12,\).*\(24,\)"):
    external_models.load_params(tmp_path, wide, setup.mesh)


def test_a_finished_model_elsewhere_is_used_where_it_is(setup, tmp_path):
  config = setup.config.copy_and_resolve_references()
  assert (
    external_models.model_folder(config, setup.folder, "clean") == setup.folder / "models" / "clean"
  )
  config.init.clean = str(tmp_path)
  assert (
    external_models.model_folder(config, setup.folder, "clean") == setup.folder / "models" / "clean"
  )
  finished_model(tmp_path, setup)
  assert external_models.model_folder(config, setup.folder, "clean") == tmp_path


def test_a_compat_file_says_minus_one_where_general_knowledge_was_not_measured():
  results = {
    "efficacy": {"1.3_ACS": {"acs_accuracy": 0.5}},
    "utility": {"2.1_GenKnow": {"ImageNet1k_Accuracy": None}, "2.2_InterIdSim": {"mean": 0.1}},
  }
  assert judging.compat(results)["utility"]["2.1_GenKnow"] == {"ImageNet1k_Accuracy": -1}
  assert results["utility"]["2.1_GenKnow"] == {"ImageNet1k_Accuracy": None}
  results["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = 0.6
  assert judging.compat(results) == results


def test_the_writer_keeps_time_over_an_interruption(tmp_path):
  first = writer.Writer(tmp_path, tensorboard=True)
  first.resume(0)
  first.write(1, {"loss": 2.0})
  first.write(2, {"loss": 1.0})
  first.close()
  before = writer.read(tmp_path / "metrics.jsonl")
  second = writer.Writer(tmp_path, tensorboard=True)
  second.resume(1)
  second.write(2, {"loss": 1.0})
  second.close()
  after = writer.read(tmp_path / "metrics.jsonl")
  assert [row["step"] for row in after] == [1, 2]
  assert after[0] == before[0] and after[1]["seconds"] > before[0]["seconds"]
  assert list((tmp_path / "tensorboard").iterdir())


def test_results_say_which_settings_they_depend_on(setup):
  inputs = judging.result_inputs(setup, "mine")
  other = setup._replace(config=setup.config.copy_and_resolve_references())
  other.config.evaluate.gallery = 3
  assert judging.result_inputs(other, "mine") != inputs
  other.config.evaluate.update(gallery=setup.config.evaluate.gallery, batch_size=1)
  assert judging.result_inputs(other, "mine") == inputs


def test_another_fragile_set_or_other_pictures_to_classify_make_results_stale(setup):
  inputs = judging.result_inputs(setup, "mine")
  known = imagenet.ZeroShotSet("x", ("a",), ("{}",), [], np.zeros(0, np.int32), "digest")
  assert judging.result_inputs(setup._replace(zero_shot=known), "mine") != inputs
  path = setup.release.path / releases.FRAGILE
  path.write_text(json.dumps([releases.columns(setup.release, "retain_synth")["file_name"][3]]))
  try:
    assert judging.result_inputs(setup, "mine") != inputs
  finally:
    path.unlink()


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_trained():
  with pytest.raises(InputError, match=r"unlearn\.mine\.batch_size = 13 .* the 12 rows"):
    check_rows("config.unlearn.mine", 13, "forget", 12)
  check_rows("config.unlearn.mine", 12, "forget", 12)
