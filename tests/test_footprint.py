"""What cannot fit is refused with the arithmetic before anything is computed or generated."""

import collections

import jax
import littlejob
import pytest
from littlejob import changed

from configs import smoke
from salmu_jax.benchmark import footprint, preflight, run
from salmu_jax.errors import InputError
from salmu_jax.generate import generator
from salmu_jax.models import presets
from salmu_jax.runtime import files, machine, places, sharding

ONE = sharding.make_mesh(jax.devices()[:1])
USAGE = collections.namedtuple("Usage", "total used free")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return littlejob.make(tmp_path_factory.mktemp("footprint"))


@pytest.fixture
def small_machine(monkeypatch):
  monkeypatch.setattr(machine, "memory", lambda: 2**30)


@pytest.mark.parametrize("section", ["pretrain", "evaluate"])
def test_a_batch_beyond_memory_is_refused_with_what_it_takes(section, tmp_path, small_machine):
  config = smoke.get_config()
  sizes = presets.sizes(config.model.preset)
  tokens = (sizes.image_size // sizes.patch_size) ** 2 + 1
  layers = sizes.vision.layers if section == "pretrain" else 1
  row = 3 * sizes.image_size**2 + 4 * layers * tokens * sizes.vision.width
  largest = 2**30 // row
  config[section].batch_size = largest
  footprint.check_memory(config, tmp_path, ONE)
  config[section].batch_size = largest + 1
  with pytest.raises(InputError, match=rf"config\.{section}\.batch_size = .* at least 1\.0 GiB: "):
    footprint.check_memory(config, tmp_path, ONE)


def test_models_that_are_finished_need_no_memory_to_train(tmp_path, small_machine):
  config = smoke.get_config()
  config.pretrain.batch_size = 2**20
  for name in ("clean", "compromised"):
    files.write_json(tmp_path / "models" / name / "done.json", {"seconds": 1.0})
  footprint.check_memory(config, tmp_path, ONE)


def test_the_memory_of_this_machine_is_a_number_of_bytes():
  assert 2**28 < machine.memory() < 2**50
  assert footprint.memory_of(sharding.make_mesh()) == machine.memory()


def test_more_steps_than_an_optimizer_counts_are_refused():
  footprint.check_steps("config.pretrain.epochs = 3.0", 2**31 - 1)
  with pytest.raises(InputError, match=r"epochs = 3\.0 makes 2,147,483,648 steps"):
    footprint.check_steps("config.pretrain.epochs = 3.0", 2**31)


def test_checkpoints_that_do_not_fit_are_refused_before_the_first_is_trained(world, monkeypatch):
  job, data = changed(world[0]), world[1]
  job.config.unlearn, job.config.pretrain.batch_size = {}, 8
  monkeypatch.setattr(files.shutil, "disk_usage", lambda path: USAGE(2**30, 2**30 - 1, 1))
  with pytest.raises(InputError, match=r"disk space .* \(2 checkpoints of at most \d"):
    preflight.check(job, data.release, data.tokenizer, data.digests)


@pytest.mark.parametrize(
  "path, value, message",
  [
    (
      "pretrain.batch_size",
      4096,
      r"config\.pretrain\.batch_size = 4096 is larger than the \d+ rows",
    ),
    (
      "unlearn.finetune.batch_size",
      2048,
      r"finetune\.batch_size = 2048 is larger than the \d+ rows",
    ),
    ("attacks.relearning.batch_size", 1024, r"relearning\.batch_size = 1024 is larger than"),
  ],
)
def test_a_batch_larger_than_the_data_is_refused_before_these_are_generated(
  path, value, message, tmp_path
):
  config = smoke.get_config("finetune")
  *parents, last = path.split(".")
  section = config
  for name in parents:
    section = section[name]
  section[last] = value
  with pytest.raises(InputError, match=message):
    run.prepare(config, places.place(tmp_path), ONE)
  assert not list(tmp_path.rglob("*.parquet"))


def test_a_release_that_memory_or_the_disk_cannot_hold_is_refused_at_once(tmp_path, monkeypatch):
  config = smoke.get_config()
  config.generate.scenes = 10**8
  with monkeypatch.context() as patch:
    patch.setattr(machine, "memory", lambda: 2**40)
    patch.setattr(files.shutil, "disk_usage", lambda path: USAGE(2**30, 2**30 - 1, 1))
    with pytest.raises(InputError, match=r"disk space .* 100,00\d,\d+ pictures of at most 6,096"):
      generator.generate(config.generate, 0, tmp_path / "release")
  monkeypatch.setattr(machine, "memory", lambda: 2**30)
  with pytest.raises(InputError, match=r"makes 100,00\d,\d+ rows, .*this machine has 1\.0 GiB"):
    generator.generate(config.generate, 0, tmp_path / "release")
  assert not list(tmp_path.iterdir())
