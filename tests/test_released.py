"""The released experiment at a reduced width, through main.py and a made-up hub cache."""

import json
import os
import pathlib
import subprocess
import sys

import fake_hub
import handmade
import jax
import pytest
import safetensors.numpy

from salmu_jax import published
from salmu_jax.data import release
from salmu_jax.models import clip, statedict
from salmu_jax.models.presets import PRESETS

ROOT = pathlib.Path(__file__).parent.parent
SIZES = PRESETS["vit_b16_narrow"]
REDUCED = (
  "--config.model.preset=vit_b16_narrow",
  "--config.unlearn.vlunlearn.batch_size=4",
  "--config.unlearn.vlunlearn.budget=1.0",
  "--config.evaluate.batch_size=16",
  "--config.evaluate.gallery=7",
  "--config.reader_threads=1",
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
  """A hub cache with the benchmark's data and both models, as they are published."""
  folder = tmp_path_factory.mktemp("hub")
  data = handmade.write(
    folder / "data", {"sensitive": None, "retain_real": None, "zero_shot": None}
  )
  names = [row["file_name"] for row in handmade.splits()["retain_synth"][1:]]
  (data / release.FRAGILE).write_text(json.dumps(names[3:5]))
  put(folder, published.DATASET, "dataset", data)
  for seed, repo in enumerate((published.CLEAN, published.COMPROMISED)):
    params = jax.jit(clip.init, static_argnums=(0, 1))(clip.CLIP(SIZES), seed)
    weights = folder / f"weights{seed}"
    weights.mkdir()
    safetensors.numpy.save_file(
      statedict.to_tensors(jax.device_get(params), SIZES, "openclip"),
      weights / "open_clip_model.safetensors",
    )
    put(folder, repo, "model", weights)
  return folder / "cache"


def put(folder, repo, kind, source):
  fake_hub.make_cache(folder / "cache", repo, kind, published.REVISIONS[repo], source)


def run(cache, workdir, *more):
  environment = fake_hub.environment(cache) | {"XLA_FLAGS": "--xla_backend_optimization_level=0"}
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
  assert "vlunlearn" in leaderboard and "Published, not measured here" in leaderboard
  about = json.loads((workdir / "results" / "vlunlearn.json").read_text())["salmu_jax"]
  assert about["reads"] == ["forget", "retain"]
  assert about["release"]["name"].startswith(f"{published.DATASET}@b76aa3885a69")
  assert about["release"]["holdout_unit"] == "pair"
  assert about["steps"] == 3


def test_counts_that_are_not_the_published_ones_are_reported(finished):
  _, done = finished
  assert "30,468" in done.stderr and "differs" in done.stderr


def test_the_compat_file_has_the_released_layout_and_nothing_else(finished):
  workdir, _ = finished
  for name in ("clean", "compromised", "vlunlearn"):
    found = json.loads((workdir / "compat" / f"{name}.json").read_text())
    assert {pillar: {m: list(v) for m, v in part.items()} for pillar, part in found.items()} == {
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
    assert found["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] == -1
    ours = json.loads((workdir / "results" / f"{name}.json").read_text())
    assert ours["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] is None
    assert "names no ImageNet" in ours["salmu_jax"]["general_knowledge"]
    assert found["efficacy"] == ours["efficacy"]


def test_a_second_start_needs_neither_the_weights_nor_work(finished, cache):
  workdir, _ = finished
  done = run(cache, workdir, "--config.method.name=vlunlearn", *REDUCED)
  assert done.returncode == 0 and "Nothing to do" in done.stderr, done.stderr


def test_an_unlearned_model_is_handed_back_with_its_card(finished, tmp_path):
  workdir, _ = finished
  done = subprocess.run(
    [sys.executable, "-m", "salmu_jax.models.convert", workdir / "models" / "vlunlearn", "out"],
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
  assert "config.init.clean" in done.stderr and "visual.transformer.resblocks.2" in done.stderr
  assert not (tmp_path / "work" / "records").exists()
