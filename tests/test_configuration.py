"""A wrong config is refused before anything is computed, with the field and what would be right."""

import inspect
import re
import sys

import jax
import pytest
from ml_collections import ConfigDict

from configs import methods, mini, mini_first, smoke, vit_b16, vit_b16_scratch
from salmu_jax import attacks, defaults
from salmu_jax.benchmark import configuration
from salmu_jax.errors import InputError
from salmu_jax.methods import METHODS
from salmu_jax.models import presets
from salmu_jax.runtime import sharding

ONE = sharding.make_mesh(jax.devices()[:1])


def check(config, mesh=ONE):
  configuration.check(config, mesh)


@pytest.mark.parametrize("module", [mini, mini_first, smoke, vit_b16, vit_b16_scratch])
@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_the_configs_we_ship_are_valid_on_one_to_eight_devices(module, devices):
  check(module.get_config(), sharding.make_mesh(jax.devices()[:devices]))


def test_a_config_that_flags_have_locked_is_as_valid():
  config = mini.get_config()
  config.lock()
  check(config)


def test_names_after_the_colon_choose_the_methods():
  assert set(mini.get_config("vlunlearn,finetune").unlearn) == {"vlunlearn", "finetune"}
  assert set(mini.get_config().unlearn) == {*methods.BASELINES, "anchored"}
  assert set(mini.get_config("all").unlearn) == set(METHODS)


def test_an_unknown_method_after_the_colon_is_refused_with_the_known_ones():
  with pytest.raises(InputError, match=r"'finetun'.*Did you mean 'finetune'"):
    mini.get_config("finetun")


def test_every_method_has_settings_for_every_size():
  for name in METHODS:
    for size in ("mini", "vit_b16"):
      (run,) = methods.runs(name, size).values()
      assert run.method == name


def changed(path, value):
  config = mini.get_config()
  with config.unlocked():
    *parents, last = path.split(".")
    section = config
    for name in parents:
      section = section[name]
    section._fields[last] = ConfigDict(value) if isinstance(value, dict) else value
  return config


@pytest.mark.parametrize(
  "path, value, message",
  [
    ("pretrian", 1, r"config: unknown name 'pretrian'\. Did you mean 'pretrain'"),
    ("pretrain.epoch", 1.0, r"config\.pretrain: unknown name 'epoch'\. Did you mean 'epochs'"),
    ("pretrain.epochs", "ten", r"config\.pretrain\.epochs is 'ten', a str; it must be a float"),
    (
      "pretrain.epochs",
      0.0,
      r"config\.pretrain\.epochs = 0\.0; it must be .*above 0",
    ),
    ("pretrain.batch_size", 0, r"pretrain\.batch_size = 0"),
    ("pretrain.batch_size", 1, r"batch_size = 1; it must be a whole number of at least 2"),
    ("pretrain.optimizer.eps", 1e-50, r"eps = 1e-50; .* float32 rounds it to 0"),
    ("pretrain.optimizer.b2", 1 - 1e-11, r"b2 = .* below 1, but float32 rounds it to 1"),
    ("model.preset", "vit-32-8-64x100000x1-64x1x1-32-8-9", r"images of 100000 layers, 64 wide"),
    ("judge", {"name": "忘" * 90, "weights": "w"}, r"judge\.name: .* at most 100 in 200 bytes"),
    ("pretrain.checkpoint_every", 30, r"checkpoint_every = 30 is not a multiple of log_every = 20"),
    ("pretrain.optimizer.warmup", 1.5, r"warmup = 1\.5; .* and at most 1"),
    ("pretrain.optimizer.learning_rate", -1.0, r"learning_rate = -1\.0"),
    ("pretrain.loss", "contrastiv", r"pretrain\.loss: unknown name.*Did you mean 'contrastive'"),
    ("pretrain.loss", "sigmoid_ring", r"'sigmoid_ring' needs a logit bias.*logit_bias = True"),
    ("accumulate", 0, r"config\.accumulate = 0"),
    ("reader_threads", 0, r"config\.reader_threads = 0; it must be a whole number of at least 1"),
    (
      "stored_pictures",
      -1.0,
      r"config\.stored_pictures = -1\.0; .*of at least 0",
    ),
    ("accumulate", 3, r"pretrain\.batch_size = 256.*accumulate = 3 parts.*255"),
    ("model.remat", "block", r"model\.remat: unknown name 'block'\. Did you mean 'blocks'"),
    ("sharding", ("kernel$",), r"sharding holds 'kernel\$'; a rule is"),
    ("sharding", (("kernel$", "data"),), r"sharding holds \('kernel\$', 'data'\); a rule is"),
    ("model.preset", "vit_b61", r"unknown name 'vit_b61'\. Did you mean 'vit_b16'"),
    ("model.attention", "flash", r"model\.attention: unknown name 'flash'"),
    ("model.attention", "cudnn", r'attention is "cudnn", which needs an NVIDIA GPU.*"cpu"'),
    ("model.compute_dtype", "float16", r"unknown name 'float16'\. Did you mean '.*float16'"),
    ("tensorboard", 1, r"config\.tensorboard is 1, an int; it must be a bool"),
    ("scratch", "gs://bucket/x", r"config\.scratch = 'gs://bucket/x' is in a bucket.*local folder"),
    ("scratch", "hub:a/b", r"config\.scratch = 'hub:a/b' is a repository of the hub"),
    ("scratch", "~nobody_of_that_name/x", r"config\.scratch = .*there is no user of that name"),
    ("wandb_project", "mine", r"needs the package wandb: pip install wandb"),
    ("compilation_cache", "gs://x", r"compilation_cache = 'gs://x'; it must be a local folder"),
    ("generate", 3, r"config\.generate is 3; it must hold the fields classes"),
    ("evaluate.name_prompt", "no braces", r"name_prompt.*\{\}"),
    ("evaluate.name_prompt", "{} and {}", r"name_prompt.*one \{\}"),
    ("evaluate.name_prompt", "{} {x}", r"name_prompt.*one \{\}"),
    ("evaluate.name_prompt", "{} }", r"name_prompt.*one \{\}"),
    ("evaluate.seed", 2**32, r"config\.evaluate\.seed = 4294967296; .*at most 4294967295"),
    ("seed", -1, r"config\.seed = -1"),
    ("evaluate.name_candidates", "everyone", r"unknown name 'everyone'"),
    ("evaluate.compute_dtype", "float64", r"evaluate\.compute_dtype: unknown name 'float64'"),
    ("evaluate.probe.feature", "produkt", r"unknown name 'produkt'\. Did you mean 'product'"),
    ("evaluate.probe.solver", "sag", r"probe\.solver: unknown name 'sag'"),
    ("evaluate.probe.c", 0.0, r"config\.evaluate\.probe\.c = 0\.0"),
    ("method.name", "vlunlern", r"config\.method\.name: unknown name 'vlunlern'\. Did you mean"),
    ("training_release", "somewhere", r"needs config\.release, which is empty"),
    ("judge.name", "theirs", r"judge\.name = 'theirs' and config\.judge\.weights = '' go together"),
    ("judge.weights", "w", r"judge\.name = '' and config\.judge\.weights = 'w' go together"),
    (
      "judge",
      {"name": "finetune", "weights": "w"},
      r"unlearn\.finetune and config\.judge\.name are",
    ),
    ("judge", {"name": "FineTune", "weights": "w"}, r"both called 'FineTune' on file systems"),
    ("method", ConfigDict({"loss": 5}), r"\Aconfig\.method\.loss: 5 is neither a name nor"),
    ("method", ConfigDict({"loss": "ascent", "name": 3}), r"config\.method\.name is 3, an int"),
    ("method", ConfigDict({"loss": "ascent", "run": 3}), r"config\.method\.run is 3; it must"),
    ("judge", {"name": "clean", "weights": "w"}, r"config\.judge\.name: 'clean' names a folder"),
    ("unlearn.finetune.method", "finetuning", r"'finetuning'\. Did you mean 'finetune'"),
    ("unlearn.finetune.budget", 0.0, r"unlearn\.finetune\.budget = 0\.0"),
    (
      "unlearn.finetune.bugdet",
      1.0,
      r"unlearn\.finetune: unknown name 'bugdet'\. Did you mean 'budget'",
    ),
    ("unlearn.finetune.tuning", "tuend", r"finetune\.tuning: unknown name 'tuend'.*'tuned'"),
    ("unlearn.finetune.args", 5, r"unlearn\.finetune\.args must be a dict"),
    ("unlearn.finetune", 5, r"unlearn\.finetune is 5; it must be a dict"),
    (
      "unlearn.vlunlearn.args.forgets",
      1.0,
      r"vlunlearn\.args: unknown name 'forgets'\. Did you mean 'forget'",
    ),
    ("unlearn.finetune.optimizer.name", "adam", r"optimizer\.name: unknown name 'adam'.*'adamw'"),
    ("unlearn.finetune.batch_size", 1, r"batch_size = 1; it must be a whole number of at least 2"),
    (
      "unlearn.vlunlearn.args.forget",
      -1.0,
      r"unlearn\.vlunlearn\.args\.forget = -1\.0; .*of at least 0",
    ),
    (
      "unlearn.vlunlearn.args.forget",
      "x",
      r"unlearn\.vlunlearn\.args\.forget = 'x'; .*a finite number",
    ),
    (
      "method.chain",
      ("add_retain",),
      r"config\.method\.chain belongs to a composed method, and config\.method\.loss is empty",
    ),
    (
      "method.retain",
      "contrastive",
      r"config\.method: unknown name 'retain'. Did you mean 'retain_l",
    ),
    (
      "method",
      {"loss": "delet"},
      r"config\.method\.loss: unknown name 'delet'.*Did you mean 'delete'",
    ),
    (
      "method",
      {"loss": "delete", "chain": ("keep_saliant",)},
      r"config\.method\.chain: .*'keep_salient'",
    ),
    (
      "method",
      {"loss": "delete", "retain_loss": "x"},
      r"config\.method\.retain_loss: unknown name 'x'",
    ),
    (
      "method",
      {"loss": "delete", "name": "finetune"},
      r"config\.method\.name = 'finetune' is taken",
    ),
    ("method", {"loss": "delete", "run": {"budget": 0.0}}, r"config\.method\.run\.budget = 0\.0"),
    (
      "method",
      {"loss": "delete", "chain": (3,)},
      r"config\.method\.chain: 3 is neither a name nor",
    ),
    ("method", {"loss": "delete", "name": "a/b"}, r"config\.method\.name: 'a/b' names a folder"),
    ("method", {"loss": "delete", "name": "npo"}, r"config\.method\.name = 'npo' is taken"),
    ("method", {"loss": "delete", "run": {"method": "npo"}}, r"run\.method and \.args follow from"),
    (
      "method",
      {"name": "vlunlearn", "run": {"budget": 9.0}},
      r"config\.method\.run belongs to a composed",
    ),
    ("method", {"run": 5}, r"config\.method\.run is 5; it must hold fields of a run"),
    ("unlearn.finetune.method", "compose", r"unlearn\.finetune\.args lacks 'loss'"),
    ("unlearn.finetune.budget", float("inf"), r"budget = inf; it must be a finite number above 0"),
    ("unlearn.finetune.optimizer.b1", 1.5, r"optimizer\.b1 = 1\.5; .* and below 1"),
    (
      "unlearn.finetune.optimizer.weight_decay",
      -1.0,
      r"weight_decay = -1\.0; .*of at least 0",
    ),
    (
      "diagnosis.holdout_kept",
      5.0,
      r"config\.diagnosis\.holdout_kept = 5\.0; .* and at most 1",
    ),
    (
      "unlearn.clean",
      defaults.unlearning_run(),
      r"unlearn\.clean.*not be 'clean' or 'compromised'",
    ),
    (
      "imagenet",
      "/data/imagenet",
      r"config\.imagenet: '/data/imagenet' is not an ImageNet source",
    ),
    ("unlearn.a/b", defaults.unlearning_run(), r"unlearn\.a/b: 'a/b' names a folder"),
  ],
)
def test_a_wrong_field_is_named_with_what_would_be_right(path, value, message):
  with pytest.raises(InputError, match=message):
    check(changed(path, value))


def test_attention_by_cudnn_needs_bfloat16():
  settings = mini.get_config().model
  settings.attention = "cudnn"
  with pytest.raises(InputError, match=r'needs bfloat16.*compute_dtype is "float32"'):
    presets.check(settings, "gpu")
  settings.compute_dtype = "bfloat16"
  presets.check(settings, "gpu")


def test_a_method_named_by_flag_is_the_only_one_that_runs():
  config = changed("method.name", "vlunlearn")
  check(config)
  assert list(configuration.chosen(config).unlearn) == ["vlunlearn"]
  assert configuration.chosen(config).unlearn.vlunlearn == config.unlearn.vlunlearn
  everything = mini.get_config()
  assert configuration.chosen(everything).unlearn == everything.unlearn


def test_a_composed_method_runs_alone_under_a_name_of_its_parts():
  parts = {"loss": "delete", "chain": ("project_conflicts", ("keep_salient", {"fraction": 0.3}))}
  config = changed("method", parts)
  check(config)
  ((name, run),) = configuration.chosen(config).unlearn.items()
  assert name == "composed-delete-project_conflicts-keep_salient"
  assert run.method == "compose" and run.args.loss == "delete"
  assert run.budget == defaults.unlearning_run().budget
  named = changed("method", parts | {"name": "mine", "run": {"budget": 2.0}})
  check(named)
  assert configuration.chosen(named).unlearn.mine.budget == 2.0
  assert "robust" not in run.args


def test_a_composed_method_may_be_made_robust_and_says_so_in_its_name():
  way = ("sam", {"rho": 0.2})
  config = changed("method", {"loss": "delete", "chain": ("add_retain",), "robust": way})
  check(config)
  ((name, run),) = configuration.chosen(config).unlearn.items()
  assert name == "composed-delete-add_retain-sam" and run.args.robust == way


def test_a_way_to_be_robust_that_is_not_there_is_named_by_its_field():
  config = mini.get_config("anchored")
  with config.unlocked():
    config.unlearn.anchored.args.robust = ("sam", {"radius": 0.2})
  with pytest.raises(InputError, match=r"config\.unlearn\.anchored\.args\.robust: sam: unknown"):
    check(config)
  config = changed("method", {"loss": "delete", "chain": (), "robust": ("sum",)})
  with pytest.raises(InputError, match=r"config\.method\.robust: unknown name 'sum'"):
    check(config)


def test_a_composed_method_may_stand_among_the_runs_of_a_config():
  config = mini.get_config()
  with config.unlocked():
    config.unlearn.mine = defaults.unlearning_run(
      "compose", args=dict(loss="npo", chain=("munba",))
    )
  check(config)


def test_no_method_at_all_can_be_asked_for():
  config = changed("method.name", "none")
  check(config)
  assert not configuration.chosen(config).unlearn


def test_a_missing_field_is_named():
  config = mini.get_config()
  with config.unlocked():
    del config.pretrain["flip"]
  with pytest.raises(InputError, match=r"config\.pretrain lacks the field 'flip'"):
    check(config)


def test_a_batch_that_the_mesh_does_not_divide_is_refused_with_the_nearest():
  with pytest.raises(InputError, match=r"unlearn\.finetune\.batch_size = 20 .* 8 devices.*is 16"):
    check(changed("unlearn.finetune.batch_size", 20), sharding.make_mesh())


def test_every_field_of_the_schema_has_a_comment():
  modules = [sys.modules[attack.make.__module__] for attack in attacks.ATTACKS.values()]
  for module in (defaults, attacks, *modules):
    lines = inspect.getsource(module).splitlines()
    fields = [i for i, line in enumerate(lines) if re.match(r"\s*(config|run)\..* = ", line)]
    plain = [
      lines[i].strip()
      for i in fields
      if "ConfigDict" not in lines[i]
      # Two fields may share the comment above the first of them.
      and not any(lines[j].strip().startswith("#") for j in (i - 1, i - 2))
    ]
    assert plain == []
    assert fields or not hasattr(module, "settings")
