"""Damaged folders of finished models: refused before anything is computed with them, and it is said
which folder to delete.
"""

import shutil

import jax
import littlejob
import pytest
from damages import DAMAGES, flip
from modelfolders import FACTS, TINY, WORDS, model_folder

from salmu_jax.benchmark import stages
from salmu_jax.data import tokenizers
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, external_models
from salmu_jax.models import clip
from salmu_jax.runtime import files, sharding, workdir
from salmu_jax.train import checkpoint

MODEL = clip.CLIP(TINY)
MESH = sharding.make_mesh(jax.devices()[:1])
SETTINGS = {"seed": 0, "model": {"preset": "tiny", "scan": False}}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  """A finished model folder whose mark has checksums."""
  folder = model_folder(tmp_path_factory.mktemp("run") / "models" / "clean")
  digest = checkpoint.digest(external_models.load_params(folder, MODEL, MESH))
  workdir.write_done(folder, {**FACTS, "weights_sha256": digest})
  return folder


@pytest.fixture
def copy(made, tmp_path):
  shutil.copytree(made, tmp_path / "models" / "clean")
  return tmp_path / "models" / "clean"


def finish(folder):
  """What a second run does with a finished stage."""
  workdir.run_stage(folder, "pretrain clean", SETTINGS, lambda _: pytest.fail("made again"))
  external_models.load_params(folder, MODEL, MESH)


def test_a_whole_folder_is_used(copy, made):
  finish(copy)
  assert convert.weights_digest(copy) == convert.weights_digest(made)


# Without a mark the stage is not done, and is resumed.
CASES = [
  (name, what)
  for name in ("settings.json", "tokenizer.json", "done.json")
  for what in DAMAGES
  if (name, what) not in (("done.json", "missing"), ("done.json", "a broken link"))
]


@pytest.mark.parametrize("name, what", CASES)
def test_a_damaged_file_is_refused_with_what_to_delete(name, what, copy):
  DAMAGES[what](copy / name)
  with pytest.raises(InputError, match=rf"{name}.* delete .*models/clean and rerun the run"):
    finish(copy)
  with pytest.raises(InputError, match=name):
    convert.export_model(copy, copy.parent / "out")
  assert not (copy.parent / "out").exists()


@pytest.mark.parametrize("what", DAMAGES)
def test_damaged_weights_are_refused_with_what_to_delete(what, made, tmp_path):
  paths = sorted(path for path in (made / "params").rglob("*") if path.is_file())
  largest = max(paths, key=lambda path: path.stat().st_size)
  for path in (largest, made / "params" / "_METADATA"):
    copy = tmp_path / path.name / "models" / "clean"
    shutil.copytree(made, copy)
    DAMAGES[what](copy / path.relative_to(made))
    with pytest.raises(InputError, match=r"weights at .*models/clean/params .*delete .*clean"):
      finish(copy)


def test_weights_are_refused_that_are_missing_or_of_another_model(copy):
  other = model_folder(copy.parent / "other", seed=1)
  params = jax.tree.map(lambda x: x + 1, external_models.load_params(other, MODEL, MESH))
  checkpoint.save_params(copy / "params", params)
  with pytest.raises(InputError, match=r"differ from those that were written there"):
    finish(copy)
  shutil.rmtree(copy / "params")
  with pytest.raises(InputError, match=r"the folder does not exist.*delete"):
    finish(copy)


@pytest.mark.parametrize(
  "content", ["[]", "null", "3", '"x"', "{}", '{"seconds": "1"}', "[" * 10**5]
)
def test_a_mark_of_another_shape_is_refused(content, copy):
  (copy / "done.json").write_text(content)
  with pytest.raises(InputError, match=r"done\.json .*delete"):
    finish(copy)


@pytest.mark.parametrize("key", ["reads", "moves", "steps", "wall_seconds", "device", "versions"])
def test_a_mark_without_a_fact_of_training_is_refused_where_results_state_it(key, copy):
  facts = {name: value for name, value in FACTS.items() if name != key} | {key: {}, "versions": []}
  files.write_json(copy / "done.json", facts)
  with pytest.raises(InputError, match=rf"done\.json is damaged: '{key}' is"):
    workdir.read_model_facts(copy)


@pytest.mark.parametrize("model", [None, [], {}, {"preset": "tiny"}, {"preset": 3, "scan": False}])
def test_settings_without_a_model_are_refused(model, copy):
  (copy / "done.json").unlink()
  files.write_json(copy / "settings.json", {"model": model})
  with pytest.raises(InputError, match=r"settings\.json .*delete"):
    external_models.load_params(copy, MODEL, MESH)


def test_a_mark_of_an_earlier_version_has_no_checksums_and_is_read(copy):
  files.write_json(copy / "done.json", FACTS)
  finish(copy)
  assert workdir.read_model_facts(copy) == FACTS


def test_a_done_stage_without_its_settings_is_refused_of_any_version(copy):
  files.write_json(copy / "done.json", FACTS)
  (copy / "settings.json").unlink()
  with pytest.raises(InputError, match=r"settings\.json is missing"):
    finish(copy)


def test_a_tokenizer_of_another_context_length_is_refused(copy):
  files.write_json(copy / "done.json", FACTS)
  tokenizers.save(tokenizers.Tokenizer(41, WORDS.kept), copy / "tokenizer.json")
  with pytest.raises(InputError, match=r"context length of 41 tokens, but the model's is 40"):
    convert.export_model(copy, copy.parent / "out")


@pytest.mark.parametrize("kind", ["a file", "a broken link"])
@pytest.mark.parametrize("name", ["models", "models/clean", "results"])
def test_what_is_in_the_place_of_a_folder_is_refused_before_the_stage(name, kind, tmp_path):
  path = tmp_path / name
  path.parent.mkdir(exist_ok=True)
  path.write_text("x") if kind == "a file" else path.symlink_to("nowhere")
  with pytest.raises(InputError, match=rf"{name} is {kind}; it must be a folder"):
    workdir.check_layout(tmp_path, [])
    workdir.run_stage(tmp_path / "models" / "clean", "x", SETTINGS, lambda _: {})


def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_computed(tmp_path):
  (tmp_path / "leaderboard.md").mkdir()
  with pytest.raises(InputError, match=r"leaderboard\.md is a folder; it must be a file"):
    workdir.check_layout(tmp_path, ["config.json", "leaderboard.md"])


def test_a_training_stage_notes_the_digest_of_its_weights(tmp_path):
  job, data = littlejob.make(tmp_path)
  job.config.pretrain.batch_size, job.config.pretrain.epochs = 4, 0.2
  stages.pretrain(job, data, "clean")
  folder = job.model_folder("clean")
  params = external_models.load_params(folder, job.model, job.mesh)
  assert workdir.read_weights_digest(folder) == checkpoint.digest(params)
  largest = max((folder / "params").rglob("*"), key=lambda path: path.stat().st_size)
  flip(largest)
  with pytest.raises(InputError, match=r"models/clean/params"):
    stages.pretrain(job, data, "clean")
  shutil.rmtree(folder)
  again = stages.pretrain(job, data, "clean")
  assert checkpoint.digest(again) == checkpoint.digest(params)
