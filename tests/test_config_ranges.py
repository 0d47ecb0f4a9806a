"""Every field of a config has a range, and all that is wrong with a config is said at once."""

import jax
import pytest
from ml_collections import ConfigDict

from configs import mini, smoke
from salmu_jax import defaults
from salmu_jax.benchmark import configuration, run
from salmu_jax.errors import InputError
from salmu_jax.methods import runs
from salmu_jax.runtime import places, sharding

ONE = sharding.make_mesh(jax.devices()[:1])
# Checked by `sharding.check_rules`, and by the method that they compose.
ELSEWHERE = {"sharding", "method.loss", "method.retain_loss", "method.chain", "method.robust"}


def leaves(section, path=""):
  """{path: value} of the fields of a config."""
  found = {}
  for name, value in section.items():
    inner = isinstance(value, ConfigDict)
    found |= leaves(value, f"{path}{name}.") if inner else {f"{path}{name}": value}
  return found


def at(table, path):
  """What a table of ranges says of a field; None for nothing."""
  for name in path.split("."):
    table = table.get(name) if hasattr(table, "get") else None
  return table


def changed(**values):
  """configs/mini.py with other values, by path; `__` stands for a dot."""
  config = mini.get_config("finetune")
  with config.unlocked():
    for path, value in values.items():
      *parents, last = path.split("__")
      section = config
      for name in parents:
        section = section[name]
      section._fields[last] = value
  return config


def faults(**values):
  """The lines of the error for `changed(**values)`."""
  with pytest.raises(InputError) as refusal:
    configuration.check(changed(**values), ONE)
  return str(refusal.value).splitlines()


def test_every_field_that_is_no_switch_has_a_range():
  fields = leaves(defaults.get_config())
  run_fields = {f"run.{path}": value for path, value in leaves(defaults.unlearning_run()).items()}
  table = {**configuration.RANGES, "run": runs.RANGES, "method": {"name": "", "run": runs.RANGES}}
  unlimited = [
    path
    for path, value in (fields | run_fields).items()
    if not isinstance(value, bool) and at(table, path) is None
  ]
  assert set(unlimited) == ELSEWHERE


def test_every_range_belongs_to_a_field():
  def rows(table, path=""):
    for name, row in table.items():
      if hasattr(row, "items"):
        yield from rows(row, f"{path}{name}.")
      else:
        yield f"{path}{name}"

  fields = {*leaves(defaults.get_config()), *leaves(defaults.unlearning_run())}
  assert {*rows(configuration.RANGES), *rows(runs.RANGES)} <= fields


def test_one_fault_is_a_sentence_and_several_are_a_list():
  assert faults(seed=-1) == [
    "config.seed = -1; it must be a whole number of at least 0 and at most 4294967295."
  ]
  lines = faults(seed=-1, pretrain__epochs=0.0, unlearn__finetune__budget=-2.0, model__remat="all")
  assert lines[0] == "4 errors in the config:"
  assert [line.split()[1].rstrip(":") for line in lines[1:]] == [
    "config.model.remat",
    "config.pretrain.epochs",
    "config.seed",
    "config.unlearn.finetune.budget",
  ]


def test_rules_between_fields_are_all_said_once_the_fields_are_right():
  lines = faults(
    pretrain__checkpoint_every=30, evaluate__name_prompt="who", training_release="somewhere"
  )
  assert lines[0] == "3 errors in the config:"
  assert "is not a multiple of log_every" in lines[1]
  assert "name_prompt" in lines[2] and "config.training_release" in lines[3]


def test_of_many_faults_the_first_twenty_are_listed():
  config = smoke.get_config()
  with config.unlocked():
    for number in range(30):
      config[f"field_{number}"] = number
  with pytest.raises(InputError) as refusal:
    configuration.check(config, ONE)
  lines = str(refusal.value).splitlines()
  assert lines[0].startswith("30 errors in the config") and len(lines) == 22
  assert lines[-1] == "- and 10 more"


@pytest.mark.parametrize(
  "path, value, message",
  [
    ("unlearn__finetune__budget", 1e18, "at most 100000"),
    ("reader_threads", 10**6, "at most 1024"),
    ("evaluate__batch_size", 2**21, "at most 1048576"),
    ("pretrain__epochs", 1e300, "at most 10000"),
    ("generate__portrait_nuisance", -0.1, "of at least 0 and at most 2"),
    ("generate__scene_nuisance", float("inf"), "a finite number"),
    ("generate__scene_nuisance", 1e300, "at most 2"),
    ("generate__scenes", 10**11, "at most 100000000"),
    ("seed", 10**400, "config.seed = a whole number of 1329 bits; it must be"),
    ("pretrain__optimizer__b2", 1.0, "below 1"),
    ("release", "a\0b", "a string without control characters"),
    ("scratch", "\ud800", "without lone surrogates"),
    ("retain_pairs", "x" * 5000, "at most 4096 characters"),
    ("release", ["a"], "config.release is ['a'], a list; it must be a str"),
    ("attacks__relearning__steps", 5, "is 5, an int; it must be a tuple"),
    ("attacks__quantisation__bits", (4.0,), "each item a whole number"),
    ("unlearn", [1], "config.unlearn is [1]; it must be a section"),
    ("method", None, "config.method is None; it must be a section"),
  ],
)
def test_a_value_that_would_fail_in_a_library_or_never_end_is_refused(path, value, message):
  (line,) = faults(**{path: value})
  assert message in line


@pytest.mark.parametrize("value", [10**400, -(10**400), 1e300, float("nan"), "1", None, [1.0]])
def test_an_argument_of_a_method_that_float32_cannot_hold_is_refused(value):
  config = mini.get_config("vlunlearn")
  with config.unlocked():
    config.unlearn.vlunlearn.args._fields["forget"] = value
  with pytest.raises(InputError, match=r"config\.unlearn\.vlunlearn\.args\.forget = "):
    configuration.check(config, ONE)


@pytest.mark.parametrize(
  "preset, fault",
  [
    ("vit-1-0-1x1x1-1x1x1-1-8-0", "patches of 0 pixels in pictures of 1"),
    ("vit-64-16-0x0x0-1x1x1-1-8-0", "a tower for images of 0 layers, 0 wide, with 0 heads"),
    ("vit-64-16-10x1x3-10x1x3-7-8-0", "10 wide, with 3 heads"),
    ("vit-64-65-12x1x3-12x1x3-7-8-0", "patches of 65 pixels in pictures of 64"),
    ("vit-64-16-12x1x3-12x1x3-0-8-0", "embeddings of 0 dimensions"),
    ("vit-64-16-12x1x3-12x1x3-7-2-0", "a context of 2 tokens"),
  ],
)
def test_a_preset_that_spells_sizes_which_no_model_has_is_refused(preset, fault):
  (line,) = faults(model__preset=preset)
  assert line.startswith(f"config.model.preset = {preset!r} spells sizes") and fault in line


def test_a_preset_that_spells_another_vocabulary_than_a_tokenizer_has_is_refused():
  (line,) = faults(model__preset="vit-64-16-12x1x3-12x1x3-7-8-600")
  assert "a vocabulary other than CLIP's 49408 tokens" in line


def test_a_preset_that_spells_possible_sizes_is_accepted():
  configuration.check(changed(model__preset="vit-64-16-12x1x3-12x1x3-7-8-0"), ONE)


@pytest.mark.parametrize("place", ["a file", "below a file"])
def test_a_scratch_folder_that_cannot_be_written_is_refused_before_anything_is_made(
  place, tmp_path
):
  (tmp_path / "file").write_text("")
  config = smoke.get_config()
  config.scratch = str(tmp_path / "file" if place == "a file" else tmp_path / "file" / "x")
  with pytest.raises(InputError, match=r"config\.scratch = '.*file.*' cannot be used"):
    run.prepare(config, places.place(tmp_path / "work"), ONE)
  assert [path.name for path in tmp_path.iterdir()] == ["file"]
