"""Weights from elsewhere: refused where they do not fit, and laid out as the model wants them."""

import jax
import littlejob
import numpy as np
import pytest
from littlejob import changed, finished_model

from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import external_models
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Tower
from salmu_jax.runtime import files


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return littlejob.make(tmp_path_factory.mktemp("external"))


def test_given_weights_with_another_vocabulary_are_refused(world, tmp_path):
  job, data = changed(world[0]), world[1]
  job.config.init.clean = str(tmp_path)
  finished_model(tmp_path, job, data.tokenizer)
  external_models.check(job.config, job.workdir, "clean", data.tokenizer)
  with pytest.raises(InputError, match=r"config\.init\.clean .* another vocabulary"):
    external_models.check(
      job.config, job.workdir, "clean", tokenizers.compact_tokenizer(16, ["other words"])
    )


def test_given_weights_with_a_tokenizer_of_another_context_length_are_refused(world, tmp_path):
  job, data = changed(world[0]), world[1]
  job.config.init.clean = str(tmp_path)
  finished_model(tmp_path, job, tokenizers.Tokenizer(12, data.tokenizer.kept))
  with pytest.raises(InputError, match=r"context length of 12 tokens, but the model's is 16"):
    external_models.check(job.config, job.workdir, "clean", data.tokenizer)


def test_given_weights_of_another_preset_are_refused_though_their_shapes_fit(world, tmp_path):
  job, data = changed(world[0]), world[1]
  job.config.init.clean = str(tmp_path)
  job.config.model.preset = "vit_b16"
  finished_model(tmp_path, job, data.tokenizer)
  path = tmp_path / "settings.json"
  settings = files.read_json(path)
  files.write_json(
    path, {**settings, "model": {**settings["model"], "preset": "vit_b16_quickgelu"}}
  )
  with pytest.raises(InputError, match=r"of the preset 'vit_b16_quickgelu'"):
    external_models.check(job.config, job.workdir, "clean", data.tokenizer)


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("scanned", [False, True])
def test_given_weights_fit_a_scanned_and_an_unrolled_model(world, tmp_path, stored, scanned):
  job, data = world
  expected = finished_model(tmp_path, job, data.tokenizer, scan=stored)
  params = external_models.load_params(tmp_path, job.model.clone(scan=scanned), job.mesh)
  expected = clip.stack_layers(expected) if scanned else expected
  assert jax.tree.structure(params) == jax.tree.structure(expected)
  jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_given_weights_of_another_width_are_refused_with_both_shapes(world, tmp_path):
  job, data = world
  finished_model(tmp_path, job, data.tokenizer)
  wide = CLIP(job.model.sizes._replace(vision=Tower(24, 1, 3)))
  with pytest.raises(InputError, match=r"another architecture: .*\(2, 2, 3, 24\)|\(12,\).*\(24,\)"):
    external_models.load_params(tmp_path, wide, job.mesh)


def test_a_finished_model_elsewhere_is_used_where_it_is(world, tmp_path):
  job, data = changed(world[0]), world[1]
  assert job.model_folder("clean") == job.workdir / "models" / "clean"
  job.config.init.clean = str(tmp_path)
  assert job.model_folder("clean") == job.workdir / "models" / "clean"
  finished_model(tmp_path, job, data.tokenizer)
  assert job.model_folder("clean") == tmp_path
