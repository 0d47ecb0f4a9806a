"""The released experiment at a reduced width, through main.py and a made-up hub cache."""

import json
import os
import pathlib
import subprocess
import sys

import fake_hub
import handmade
import jax
import numpy as np
import pytest
import safetensors.numpy
from quick_compile import FLAGS

from configs import vit_b16
from experiments.published import readings
from salmu_jax.benchmark.run import run as run_here
from salmu_jax.data import hub, imagenet, releases
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, modelconfig, statedict
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.results import published

ROOT = pathlib.Path(__file__).parent.parent
SIZES = PRESETS["vit_b16_narrow"]
REDUCED = (
  "--config.model.preset=vit_b16_narrow",
  "--config.unlearn.vlunlearn.batch_size=4",
  "--config.unlearn.vlunlearn.budget=1.0",
  "--config.evaluate.batch_size=16",
  "--config.evaluate.gallery=7",
  "--config.attacks.names=('Membership', 'Readout', 'Gallery')",
  "--config.reader_threads=1",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  return make_cache(tmp_path_factory.mktemp("hub"))


def make_cache(folder, write_compromised=safetensors.numpy.save_file, name=hub.WEIGHTS[0]):
  """A hub cache with the benchmark's data and both models, as they are published."""
  data = handmade.write(
    folder / "data", {"sensitive": None, "retain_real": None, "zero_shot": None}
  )
  names = [row["file_name"] for row in handmade.splits()["retain_synth"][1:]]
  (data / releases.FRAGILE).write_text(json.dumps(names[3:5]))
  put(folder, published.DATASET, "dataset", data)
  models = (
    (published.CLEAN, safetensors.numpy.save_file, hub.WEIGHTS[0]),
    (published.COMPROMISED, write_compromised, name),
  )
  for seed, (repo, write, file) in enumerate(models):
    params = jax.jit(clip.init, static_argnums=(0, 1))(clip.CLIP(SIZES), seed)
    source = folder / f"model{seed}"
    source.mkdir()
    write(statedict.to_tensors(jax.device_get(params), SIZES, "openclip"), source / file)
    modelconfig.write(source, SIZES, "openclip")
    put(folder, repo, "model", source)
  return folder / "cache"


def put(folder, repo, kind, source):
  fake_hub.make_cache(folder / "cache", repo, kind, published.REVISIONS[repo], source)


def image_folder(folder):
  """An ImageFolder of three of ImageNet's classes, as `config.imagenet` names it."""
  for wnid in ("n01440764", "n02085620", "n15075141"):
    (folder / wnid).mkdir(parents=True)
    for i in range(4):
      (folder / wnid / f"{i}.JPEG").write_bytes(handmade.jpeg(int(wnid[1:]) + i))
  return f"imagefolder:{folder}"


def reduced():
  """The config of REDUCED without a method, for a run in this process on its eight devices."""
  config = vit_b16.get_config()
  config.model.preset = "vit_b16_narrow"
  config.method.name = "none"
  config.evaluate.update(batch_size=64, gallery=7)
  config.attacks.names = ()
  config.reader_threads = 1
  return config


def run(cache, workdir, *more, **environment):
  flags = {"XLA_FLAGS": FLAGS}
  environment = fake_hub.environment(cache) | flags | environment
  return subprocess.run(
    [sys.executable, "main.py", "--config=configs/vit_b16.py", f"--workdir={workdir}", *more],
    cwd=ROOT,
    env=environment,
    capture_output=True,
    text=True,
  )


@pytest.fixture(scope="module")
def finished(cache, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("work") / "vit_b16"
  done = run(cache, workdir, "--config.method.name=vlunlearn", *REDUCED)
  assert done.returncode == 0, done.stderr
  return workdir, done


def test_one_command_downloads_converts_unlearns_evaluates_and_adds_the_row(finished):
  workdir, done = finished
  assert {p.stem for p in (workdir / "results").iterdir()} == {"clean", "compromised", "vlunlearn"}
  assert "vlunlearn" in done.stdout
  leaderboard = (workdir / "leaderboard.md").read_text()
  assert "vlunlearn" in leaderboard and "Published numbers, not measured here" in leaderboard
  about = json.loads((workdir / "results" / "vlunlearn.json").read_text())["salmu_jax"]
  assert about["reads"] == ["forget", "retain_synth"]
  assert about["release"]["name"].startswith(f"{published.DATASET}@b76aa3885a69")
  assert about["release"]["holdout_unit"] == "pair"
  assert about["steps"] == 3


def test_counts_that_are_not_the_published_ones_are_reported(finished):
  _, done = finished
  assert "30,468" in done.stderr and "differs" in done.stderr


def test_the_compat_file_has_the_released_layout_and_nothing_else(finished):
  workdir, _ = finished
  for name in ("clean", "compromised", "vlunlearn"):
    compat = json.loads((workdir / "compat" / f"{name}.json").read_text())
    assert {pillar: {m: list(v) for m, v in part.items()} for pillar, part in compat.items()} == {
      "efficacy": {
        "1.1_RetFail": ["R@1", "MRR", "outcomes"],
        "1.2_AssocStr": ["mean", "scores"],
        "1.3_ACS": ["acs_accuracy"],
        "1.4_IdZSC": ["identity_classification_accuracy"],
        "1.5_CoreAssoc": ["mean", "scores"],
      },
      "utility": {
        "2.1_GenKnow": ["ImageNet1k_Accuracy"],
        "2.2_InterIdSim": ["mean", "scores"],
        "2.3_IntraIdSim": ["mean", "scores"],
        "2.4_VisIdInt": ["mean", "scores"],
        "2.5_FragSim": ["mean", "scores"],
      },
    }
    assert compat["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] == -1
    ours = json.loads((workdir / "results" / f"{name}.json").read_text())
    assert ours["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] is None
    assert "names no ImageNet" in ours["salmu_jax"]["general_knowledge"]
    assert compat["efficacy"] == ours["efficacy"]


def test_a_second_start_needs_neither_the_weights_nor_work(finished, cache, tmp_path):
  workdir, _ = finished
  for model in cache.glob("models--*"):
    model.rename(tmp_path / model.name)
  try:
    done = run(cache, workdir, "--config.method.name=vlunlearn", *REDUCED)
  finally:
    for model in tmp_path.iterdir():
      model.rename(cache / model.name)
  assert done.returncode == 0 and "Nothing to do" in done.stderr, done.stderr


def test_models_from_elsewhere_are_judged_without_unlearning_and_on_imagenet(
  finished, cache, tmp_path, monkeypatch
):
  fake_hub.use_cache(monkeypatch, cache)
  # All 80 prompts of all classes are 80,000 texts, for each of three models.
  few = {**imagenet.class_texts(), "prompts": ("a photo of a {}.", "art of a {}.")}
  monkeypatch.setattr(imagenet, "class_texts", lambda: few)
  export, workdir = tmp_path / "export", tmp_path / "work"
  convert.export_model(finished[0] / "models" / "vlunlearn", export)
  config = reduced()
  config.judge.update(name="theirs", weights=str(export))
  config.imagenet = image_folder(tmp_path / "imagenet")
  run_here(config, workdir)
  results = {p.stem: json.loads(p.read_text()) for p in (workdir / "results").iterdir()}
  assert results.keys() == {"clean", "compromised", "theirs"}
  mine = json.loads((finished[0] / "results" / "vlunlearn.json").read_text())
  for metric, scored in mine["utility"].items():
    if "scores" in scored:
      theirs = results["theirs"]["utility"][metric]["scores"]
      np.testing.assert_allclose(theirs, scored["scores"], atol=1e-5)
  about = results["theirs"]["salmu_jax"]
  assert (about["role"], about["method"], about["start"]) == ("unlearned", None, None)
  assert about["settings"]["source"] == str(export)
  assert about["general_knowledge"].startswith("part of ImageNet-1k")
  compat = json.loads((workdir / "compat" / "theirs.json").read_text())
  knowledge = compat["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"]
  assert knowledge in {hits / 12 for hits in range(13)}
  assert "theirs" in (workdir / "leaderboard.md").read_text()
  # One more picture is another test: what was measured before is stale.
  (tmp_path / "imagenet" / "n01440764" / "4.JPEG").write_bytes(handmade.jpeg(1))
  with pytest.raises(InputError, match="was made with another config"):
    run_here(config, workdir)


def test_the_study_of_readings_runs_on_the_released_models(finished, cache, tmp_path, monkeypatch):
  fake_hub.use_cache(monkeypatch, cache)
  monkeypatch.setattr(readings, "RESULTS", tmp_path / "readings.json")
  config = reduced()
  readings.study(config, tmp_path / "work")
  rows = json.loads((tmp_path / "readings.json").read_text())["readings"]
  assert [(row["metric"], row["fields"]) for row in rows] == readings.readings()
  for name in ("clean", "compromised"):
    efficacy = json.loads((finished[0] / "compat" / f"{name}.json").read_text())["efficacy"]
    assert rows[0][name] == pytest.approx(efficacy["1.3_ACS"]["acs_accuracy"], abs=0.1)
    naming = next(row for row in rows if row["metric"] == "IdZSC")
    assert naming[name] == efficacy["1.4_IdZSC"]["identity_classification_accuracy"]
  assert "not run yet" not in readings.section(tmp_path / "readings.json")
  monkeypatch.setattr(readings, "study", lambda config, workdir: refuse())
  assert readings.main([str(tmp_path)]) == 1


def refuse():
  raise InputError("no network")


def test_a_finished_model_of_another_run_is_judged_with_its_history(finished, cache, tmp_path):
  model = finished[0] / "models" / "vlunlearn"
  options = ["--config.method.name=none", "--config.judge.name=again", *REDUCED]
  done = run(cache, tmp_path, *options, f"--config.judge.weights={model}")
  assert done.returncode == 0, done.stderr
  again, mine = (
    json.loads((folder / "results" / f"{name}.json").read_text())
    for folder, name in ((tmp_path, "again"), (finished[0], "vlunlearn"))
  )
  assert again["efficacy"] == mine["efficacy"]
  for key in ("method", "budget", "settings", "reads", "steps", "start"):
    assert again["salmu_jax"][key] == mine["salmu_jax"][key], key


def test_an_unlearned_model_is_handed_back_with_its_card(finished, tmp_path):
  workdir, _ = finished
  done = subprocess.run(
    [sys.executable, "-m", "salmu_jax.interop.convert", workdir / "models" / "vlunlearn", "out"],
    cwd=tmp_path,
    env={**os.environ, "PYTHONPATH": str(ROOT)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  card = (tmp_path / "out" / "README.md").read_text()
  for fact in ("vlunlearn", "1x", "forget", "retain", "InterIdSim"):
    assert fact in card
  config = json.loads((tmp_path / "out" / "open_clip_config.json").read_text())
  assert config["model_cfg"]["vision_cfg"]["width"] == 64


def test_weights_that_are_not_the_presets_are_refused_before_anything_runs(cache, tmp_path):
  done = run(cache, tmp_path / "work", *REDUCED[1:])
  assert done.returncode != 0 and "Traceback" not in done.stderr
  assert "config.init.clean" in done.stderr and "embed_dim is 64, the preset has 512" in done.stderr
  assert not (tmp_path / "work" / "records").exists()


def write_pickle(tensors, path):
  import torch

  torch.save({name: torch.from_numpy(value.copy()) for name, value in tensors.items()}, path)


@pytest.mark.torch
def test_a_compromised_that_comes_as_pytorchs_file_gives_the_same_results(finished, tmp_path):
  cache = make_cache(tmp_path, write_pickle, "open_clip_pytorch_model.bin")
  done = run(cache, tmp_path / "work", "--config.method.name=none", *REDUCED)
  assert done.returncode == 0, done.stderr
  scores, expected = (
    json.loads((folder / "compat" / "compromised.json").read_text())
    for folder in (tmp_path / "work", finished[0])
  )
  assert scores == expected


def test_without_pytorch_its_file_ends_in_the_way_round_before_the_data_is_opened(tmp_path):
  cache = make_cache(
    tmp_path, lambda _, path: path.write_bytes(b"\x80"), "open_clip_pytorch_model.bin"
  )
  for data in cache.glob("datasets--*"):
    data.rename(tmp_path / "data_elsewhere")
  (tmp_path / "torch.py").write_text("raise ImportError('not installed')")
  paths = {"PYTHONPATH": str(tmp_path)}
  done = run(cache, tmp_path / "work", "--config.method.name=none", *REDUCED, **paths)
  assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
  assert "torch is not installed here" in done.stderr and "requirements-torch" in done.stderr
