"""Stages: done once, refused with other settings, and a method's `prepare` gets what it is
promised.
"""

import contextlib
import functools
import itertools
import re
import sys
import types

import jax
import jax.numpy as jnp
import littlejob
import numpy as np
import optax
import pytest
from damages import flip
from littlejob import changed

from salmu_jax import defaults, losses, train
from salmu_jax.benchmark import preflight, stages
from salmu_jax.data import images, pipeline
from salmu_jax.errors import InputError
from salmu_jax.interop import external_models
from salmu_jax.methods import MAKERS
from salmu_jax.methods.base import Method
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import files, progress, workdir
from salmu_jax.train import optimizers, writer


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
  assert progress.duration(seconds) == words


def mean_gradient_first(seen):
  """A method that moves against the mean retain gradient that `prepare` left in its state."""

  def init(params):
    return jax.tree.map(jnp.zeros_like, params)

  def update(updates, state, params=None, **extra_args):
    del updates, params, extra_args
    return jax.tree.map(lambda g: -0.01 * g, state), state

  def prepare(opt_state, gradients):
    rows = list(gradients())
    seen.append(rows)
    return jax.tree.map(lambda *g: sum(g) / len(g), *(row["retain"] for row in rows))

  tx = optax.GradientTransformationExtraArgs(init, update)
  return lambda optimizer: Method(
    losses.pair_similarity, losses.contrastive, tx, prepares=(prepare,)
  )


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return littlejob.make(tmp_path_factory.mktemp("stages"))


def test_prepare_gets_one_pass_of_gradients_at_the_start_and_its_state_is_used(world, monkeypatch):
  job, data = world
  seen = []
  monkeypatch.setitem(MAKERS, "mine", mean_gradient_first(seen))
  start = train.init_params(job.model, 0, job.mesh)
  end = stages.unlearn(job, data, "mine", start)
  (rows,) = seen
  assert len(rows) == 3  # 12 rows of forget, 4 at a time
  run = job.config.unlearn.mine
  with contextlib.closing(stages.unlearning_batches(job, data, run)) as stream:
    batches = list(itertools.islice(stream, 2))

  def loss(params, half):
    return losses.contrastive(train.embed(job.model, params, half))

  expected = jax.jit(jax.grad(loss))(start, batches[1]["retain"])
  for a, b in zip(jax.tree.leaves(rows[1]["retain"]), jax.tree.leaves(expected), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
  mean = jax.tree.map(lambda *g: sum(g) / 3, *(row["retain"] for row in rows))
  for a, b, g in zip(*map(jax.tree.leaves, (end, start, mean)), strict=True):
    np.testing.assert_allclose(a, b - 3 * 0.01 * g, rtol=1e-4, atol=1e-6)


def test_results_say_which_parameters_moved_and_that_a_pass_was_spent_on_measuring(world):
  job, _ = world
  facts = files.read_json(job.model_folder("mine") / workdir.DONE)
  arrays = len(jax.tree.leaves(jax.eval_shape(lambda: train.init_params(job.model, 0, job.mesh))))
  assert facts["prepare_passes"] == 1
  assert re.fullmatch(rf"\d+ of {arrays} arrays, \d+\.\d% of all parameters", facts["moves"])
  start = {"a": jnp.zeros(4), "b": jnp.zeros(12)}
  end = {"a": jnp.array([0.0, 0, 0, 1]), "b": jnp.zeros(12)}
  assert stages.moved(start, end) == "1 of 2 arrays, 6.2% of all parameters"


def test_a_run_that_goes_on_from_a_checkpoint_measures_nothing_again(world, monkeypatch):
  (job, data), seen = world, []
  monkeypatch.setitem(MAKERS, "mine", mean_gradient_first(seen))
  folder = job.model_folder("mine")
  (folder / workdir.DONE).unlink()  # killed after the last checkpoint
  before = external_models.load_params(folder, job.model, job.mesh)
  after = stages.unlearn(job, data, "mine", train.init_params(job.model, 0, job.mesh))
  assert seen == []
  jax.tree.map(np.testing.assert_array_equal, after, before)


def test_a_run_whose_checkpoints_are_all_damaged_measures_again_and_ends_the_same(
  world, monkeypatch, said
):
  (job, data), seen = world, []
  monkeypatch.setitem(MAKERS, "mine", mean_gradient_first(seen))
  folder = job.model_folder("mine")
  before = external_models.load_params(folder, job.model, job.mesh)
  (folder / workdir.DONE).unlink()
  for step in (folder / "checkpoints").iterdir():
    flip(max((step / "state").rglob("*"), key=lambda path: path.stat().st_size))
  after = stages.unlearn(job, data, "mine", train.init_params(job.model, 0, job.mesh))
  assert len(seen) == 1 and "restarting the stage" in said()
  jax.tree.map(np.testing.assert_array_equal, after, before)


def test_anchored_editing_moves_the_text_tower_alone_and_says_what_was_made_up(world):
  job, data = changed(world[0]), world[1]
  run = defaults.unlearning_run("anchored", batch_size=4, budget=1.0)
  job.config.unlearn = {"anchored": run}
  preflight.check_unlearning(job, data.release, "anchored")
  surrogates = stages.make_method(job, data.release, "anchored").surrogates
  # A step reads the forget and retain rows that every method's step reads, and the surrogates
  # beside them.
  streams = [stages.unlearning_batches(job, data, run, made_up) for made_up in (None, surrogates)]
  with contextlib.closing(streams[0]) as plain, contextlib.closing(streams[1]) as more:
    for _ in range(4):
      a, b = next(plain), next(more)
      assert b["forget"].pop("surrogate").shape == (4, 6, 16)
      jax.tree.map(np.testing.assert_array_equal, a, b)
  start = train.init_params(job.model, 0, job.mesh)
  end = stages.unlearn(job, data, "anchored", start)
  jax.tree.map(np.testing.assert_array_equal, end["visual"], start["visual"])
  assert not np.array_equal(end["text"]["text_projection"], start["text"]["text_projection"])
  facts = files.read_json(job.model_folder("anchored") / workdir.DONE)
  assert facts["surrogates"] == {"count": 6, "source": "both", "reworded": 0.0}
  assert facts["reads"] == ["forget", "retain_synth", "retain_real"]


def embedder(job, data):
  """embed_pictures(params, split) by hand."""
  encode = jax.jit(lambda p, x: job.model.apply({"params": p}, x, method=CLIP.encode_image))

  def embed(params, split):
    rows, size = data.records[split], job.model.sizes.image_size
    pixels = [
      images.resize_and_crop(images.decode(rows[k]["image"], "row"), size) for k in range(len(rows))
    ]
    return np.asarray(encode(params, images.normalise(np.stack(pixels))))

  return embed


def test_a_method_that_leaves_the_image_tower_embeds_pictures_once_and_ends_the_same(
  world, tmp_path, monkeypatch
):
  job, data = changed(world[0]), world[1]
  run = defaults.unlearning_run("anchored", batch_size=4, budget=12.0)
  run.optimizer = optimizers.settings(1e-2, name="sgd")
  job.config.unlearn = {"anchored": run}
  start, ends = train.init_params(job.model, 0, job.mesh), []
  for name, embed in (("each_step", None), ("once", embedder(job, data))):
    here = job._replace(workdir=tmp_path / name)
    ends.append(stages.unlearn(here, data, "anchored", start, embed))
    monkeypatch.setattr(pipeline, "_picture", lambda *args, **more: pytest.fail("a picture read"))
  jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-6), *ends)
  assert not np.array_equal(ends[0]["text"]["text_projection"], start["text"]["text_projection"])


def test_of_millions_of_rows_those_that_are_drawn_are_embedded_as_they_come(world):
  data = world[1]
  method, embedded = MAKERS["anchored"](optax.sgd(0.1)), []

  def embed(split):
    embedded.append(split)
    return np.zeros((len(data.records[split]), 8), np.float32)

  for draws, splits in ((11, []), (12, ["forget"]), (10**6, ["forget", *data.splits("retain")])):
    embedded.clear()
    rows = stages.with_embeddings(data, method, embed, draws).records
    assert embedded == splits
    assert {split for split in rows if "embedding" in rows[split][0]} == set(splits)


def test_a_method_that_moves_the_image_tower_and_denies_it_is_refused(world, tmp_path, monkeypatch):
  job, data = changed(world[0]), world[1]
  make = lambda optimizer: Method(losses.contrastive, None, optimizer, image_tower=False)
  monkeypatch.setitem(MAKERS, "mine", make)
  start = train.init_params(job.model, 0, job.mesh)
  with pytest.raises(InputError, match="image_tower=False"):
    stages.unlearn(job._replace(workdir=tmp_path), data, "mine", start)


def test_budget_counts_passes_over_forget_whatever_the_batch(world):
  job, data = changed(world[0]), world[1]
  run = job.config.unlearn.mine
  for size, budget, steps in ((4, 1.0, 3), (4, 5.0, 15), (6, 5.0, 10), (12, 0.6, 1)):
    run.update(batch_size=size, budget=budget)
    assert stages.unlearn_schedule(job, data.release, "mine").total_steps == steps


def test_both_models_see_each_retain_row_equally_often(world):
  job, data = world
  settings = job.config.pretrain
  rows = {"clean": 21 + 17, "compromised": 21 + 17 + 24}
  for name, count in rows.items():
    steps = stages.pretrain_schedule(job, data.release, name).total_steps
    assert steps == round(settings.epochs * count / settings.batch_size)


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


def test_the_settings_of_a_run_are_its_hyperparameters_in_tensorboard(tmp_path):
  settings = {"seed": 0, "pretrain": {"batch_size": 8, "crop_area": (0.5, 1.0)}}
  with contextlib.closing(writer.Writer(tmp_path, True, settings)) as log:
    log.resume(0)
    log.write(1, {"loss": 2.0})
  (file,) = (tmp_path / "tensorboard").iterdir()
  content = file.read_bytes()
  assert b"pretrain.batch_size" in content and b"[0.5, 1.0]" in content


def test_a_project_on_weights_and_biases_gets_every_row_and_goes_on_with_its_run(
  tmp_path, monkeypatch
):
  sent, started = [], []
  run = types.SimpleNamespace(
    log=lambda values, step: sent.append((step, values)), finish=lambda: sent.append("end")
  )
  fake = types.SimpleNamespace(init=lambda **about: started.append(about) or run)
  monkeypatch.setitem(sys.modules, "wandb", fake)
  for step in (1, 2):
    with contextlib.closing(writer.Writer(tmp_path, False, {"seed": 0}, "mine")) as log:
      log.resume(step - 1)
      log.write(step, {"loss": 1.0})
  assert sent == [(1, {"loss": 1.0}), "end", (2, {"loss": 1.0}), "end"]
  assert started[0] == started[1] and started[0]["project"] == "mine"
  assert started[0]["config"] == {"seed": 0} and started[0]["resume"] == "allow"
