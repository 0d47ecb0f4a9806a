"""The whole benchmark through main.py. A run that is killed anywhere ends with the same bits; bad
input is refused with its reason.
"""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest

ROOT = pathlib.Path(__file__).parent.parent
MODELS = ("clean", "compromised", "finetune", "vlunlearn")
CONFIG = "tests/runconfig.py:finetune,vlunlearn"


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
  """A user's, with a cache folder that all these tests share.

  Programs are compiled once and run often here, so they are compiled as a user's are.
  """
  cache = str(tmp_path_factory.mktemp("cache"))
  own = ("JAX_ENABLE_COMPILATION_CACHE", "JAX_COMPILATION_CACHE_DIR", "XLA_FLAGS")
  kept = {k: v for k, v in os.environ.items() if k not in own}
  return {**kept, "XDG_CACHE_HOME": cache}


def command(workdir, config=CONFIG, *more):
  return [sys.executable, "main.py", f"--config={config}", f"--workdir={workdir}", *more]


def main(environment, workdir, config=CONFIG, *more):
  return subprocess.run(
    command(workdir, config, *more), cwd=ROOT, env=environment, capture_output=True, text=True
  )


@pytest.fixture(scope="module")
def unbroken(environment, tmp_path_factory):
  """(workdir, what the run printed, seconds) of one uninterrupted run."""
  workdir = tmp_path_factory.mktemp("unbroken")
  began = time.monotonic()
  done = main(environment, workdir)
  assert done.returncode == 0, done.stderr
  return workdir, done, time.monotonic() - began


def params(workdir, model):
  with ocp.StandardCheckpointer() as checkpointer:
    return checkpointer.restore(workdir / "models" / model / "params")


def results(workdir, model):
  content = json.loads((workdir / "results" / f"{model}.json").read_text())
  del content["salmu_jax"]["wall_seconds"], content["salmu_jax"]["evaluation_seconds"]
  return content


def states(workdir):
  return {p: p.stat().st_mtime_ns for p in workdir.rglob("*") if p.is_file()}


def test_a_run_leaves_results_leaderboard_plots_and_logs(unbroken):
  workdir, done, _ = unbroken
  for model in MODELS:
    result = results(workdir, model)
    about = result["salmu_jax"]
    assert set(result["efficacy"]) == {
      "1.1_RetFail",
      "1.2_AssocStr",
      "1.3_ACS",
      "1.4_IdZSC",
      "1.5_CoreAssoc",
    }
    assert set(result["utility"]) == {
      "2.1_GenKnow",
      "2.2_InterIdSim",
      "2.3_IntraIdSim",
      "2.4_VisIdInt",
      "2.5_FragSim",
    }
    assert about["seed"] == 0 and about["versions"]["jax"] == jax.__version__
    manifest = (workdir / "release" / "manifest.json").read_bytes()
    import hashlib

    assert about["release"]["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    log = (workdir / "models" / model / "metrics.jsonl").read_text().splitlines()
    assert len(log) == len(about["curve"]) > 2
    assert list((workdir / "models" / model / "tensorboard").iterdir())
  for name in ("leaderboard.md", "leaderboard.csv", "leaderboard.json"):
    assert "vlunlearn" in (workdir / name).read_text()
  for name in ("forgetting", "similarity", "training", "breakdown"):
    assert (workdir / f"{name}.png").stat().st_size > 10_000
  assert "vlunlearn" in done.stdout
  assert "budget 5x" in done.stderr and "parameters" in done.stderr


def test_results_state_budget_data_read_and_steps(unbroken):
  about = results(unbroken[0], "finetune")["salmu_jax"]
  assert about["budget"] == 5.0 and about["reads"] == ["retain_synth", "retain_real"]
  forget = about["release"]["counts"]["forget"]
  assert about["steps"] == round(5 * forget / about["settings"]["batch_size"])
  assert results(unbroken[0], "compromised")["salmu_jax"]["reads"][-1] == "sensitive"
  assert "sensitive" not in results(unbroken[0], "clean")["salmu_jax"]["reads"]


def times(workdir):
  return json.loads((workdir / "times.json").read_text())


def test_a_run_ends_with_the_seconds_of_every_stage_and_keeps_them(unbroken):
  workdir, done, seconds = unbroken
  trained = ["pretrain clean", "pretrain compromised", "unlearn finetune", "unlearn vlunlearn"]
  judged = [f"{verb} {model}" for verb in ("evaluate", "attack") for model in MODELS]
  stages, run = times(workdir)["stages"], times(workdir)["last_run"]
  assert set(stages) == {
    "generate release",
    "records",
    "stored pictures",
    "report",
    *trained,
    *judged,
  }
  assert 0 < sum(stages.values()) < run["seconds"] < seconds and run["reused"] == []
  assert 0 < run["compiling_seconds"] < seconds and run["peak_memory_bytes"] > 2**28
  table = done.stderr[done.stderr.index("\ntimes ") :]
  assert all(f" {stage} " in table for stage in stages) and "peak memory" in table


def test_programs_are_kept_in_the_users_cache_folder(unbroken, environment):
  folder = pathlib.Path(environment["XDG_CACHE_HOME"], "salmu_jax", "compilations")
  assert 20 < times(unbroken[0])["last_run"]["programs_compiled"] <= len(list(folder.iterdir()))
  assert f"{folder}"[:40] in unbroken[1].stderr  # the start-up table breaks long lines


def test_output_is_quiet_where_no_terminal_is(unbroken):
  for text in (unbroken[1].stdout, unbroken[1].stderr):
    assert "\r" not in text and "\x1b" not in text
    assert not re.search(r"Warning|Traceback|I\d{4}", text)


def test_a_second_start_does_nothing_and_says_so(unbroken, environment):
  before = states(unbroken[0])
  done = main(environment, unbroken[0])
  assert done.returncode == 0
  assert "Nothing to do" in done.stderr and "vlunlearn" in done.stdout
  assert states(unbroken[0]) == before


def test_killed_at_random_moments_it_ends_with_the_same_bits(unbroken, environment, tmp_path):
  reference = unbroken[0]
  rng = np.random.default_rng(20)
  kills = 0
  for stages in rng.integers(1, 3, 3):  # of those that a start begins, before its end
    process = subprocess.Popen(
      command(tmp_path), cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
      stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    begun = (line for line in process.stderr if line.rstrip().endswith(" ..."))
    for _ in range(stages):
      next(begun)
    time.sleep(rng.uniform(0, 1.5))
    process.kill()
    kills += process.wait() == -signal.SIGKILL
    process.stderr.close()
  assert kills >= 2
  done = main(environment, tmp_path)
  assert done.returncode == 0, done.stderr
  for model in MODELS:
    jax.tree.map(np.testing.assert_array_equal, params(tmp_path, model), params(reference, model))
    assert results(tmp_path, model) == results(reference, model)
  assert (tmp_path / "leaderboard.md").read_bytes() == (reference / "leaderboard.md").read_bytes()
  assert (tmp_path / "forgetting.png").read_bytes() == (reference / "forgetting.png").read_bytes()
  last = times(tmp_path)["last_run"]  # what the first run compiled, this one reads
  assert last["programs_compiled"] == 0 < last["programs_read"]


@pytest.fixture
def copy(unbroken, tmp_path):
  """A finished workdir to spoil."""
  return pathlib.Path(shutil.copytree(unbroken[0], tmp_path / "copy"))


def test_what_was_deleted_is_redone_alone_and_with_programs_that_are_kept(
  copy, unbroken, environment
):
  shutil.rmtree(copy / "models" / "vlunlearn")
  for model in ("vlunlearn", "clean"):
    (copy / "results" / f"{model}.json").unlink()
  kept = states(copy / "models")
  done = main(environment, copy)
  assert done.returncode == 0, done.stderr
  assert "pretrain clean: done before" in done.stderr
  assert all(states(copy / "models")[path] == when for path, when in kept.items())
  for model in ("vlunlearn", "clean"):
    assert results(copy, model) == results(unbroken[0], model)
  again = times(copy)["last_run"]
  assert again["programs_compiled"] == 0 < again["programs_read"]
  redone = {"unlearn vlunlearn", "evaluate vlunlearn", "attack vlunlearn"}
  redone |= {"evaluate clean", "attack clean", "report"}
  assert {"generate release", "pretrain compromised", "unlearn finetune"} < set(again["reused"])
  assert not redone & set(again["reused"])


def test_edited_results_are_refused_and_edited_reports_made_again(copy, unbroken, environment):
  result = copy / "results" / "finetune.json"
  content = result.read_text()
  about = json.loads(content)
  about["salmu_jax"]["budget"] = 1.0
  result.write_text(json.dumps(about))
  refused(main(environment, copy), "finetune.json has changed since the run wrote it")
  result.write_text(content)
  for name in ("compat/finetune.json", "leaderboard.csv", "forgetting.png"):
    (copy / name).write_bytes((copy / name).read_bytes() + b" ")
  (copy / "compat" / "clean.json").write_text("{}")
  done = main(environment, copy)
  assert done.returncode == 0, done.stderr
  for name in ("compat/clean.json", "leaderboard.csv", "forgetting.png"):
    assert (copy / name).read_bytes() == (unbroken[0] / name).read_bytes(), name
  assert "Nothing to do" in main(environment, copy).stderr


def test_a_composed_method_joins_a_finished_workdir(copy, environment):
  chain = "--config.method.chain=('project_conflicts', ('keep_salient', {'fraction': 0.25}))"
  kept = states(copy / "models")
  done = main(environment, copy, CONFIG, "--config.method.loss=delete", chain,
              "--config.method.run.batch_size=16")  # fmt: skip
  assert done.returncode == 0, done.stderr
  about = results(copy, "composed-delete-project_conflicts-keep_salient")["salmu_jax"]
  assert about["method"] == "compose" and about["prepare_passes"] == 1
  assert about["settings"]["args"]["loss"] == "delete"
  share = float(re.search(r"([\d.]+)% of all parameters", about["moves"])[1])
  assert 20 < share <= 25.1
  assert all(states(copy / "models")[path] == when for path, when in kept.items())
  for name in ("leaderboard.md", "diagnosis.md"):
    text = (copy / name).read_text()
    assert "composed-delete-project_conflicts-keep_salient" in text and "vlunlearn" in text


def refused(done, *fragments):
  assert done.returncode not in (0, None)
  assert "Traceback" not in done.stderr, done.stderr
  assert "salmu_jax cannot go on" in done.stderr
  for fragment in fragments:
    assert fragment in done.stderr, done.stderr


@pytest.mark.parametrize(
  "change, fragments",
  [
    ("--config.seed=1", ("made with another config", "seed was 0 and is 1")),
    ("--config.pretrain.epochs=3.0", ("made with another config", "pretrain.epochs was 6.0")),
    ("--config.unlearn.vlunlearn.budget=2.0", ("another config", "budget was 5.0 and is 2.0")),
    ("--config.evaluate.gallery=5", ("clean.json was made with another config",)),
    ("--config.generate.people=30", ("another config", "people was 24 and is 30")),
  ],
)
def test_a_workdir_made_with_another_config_is_refused_and_untouched(
  unbroken, environment, change, fragments
):
  before = states(unbroken[0])
  refused(main(environment, unbroken[0], CONFIG, change), *fragments)
  assert states(unbroken[0]) == before


def test_flags_that_name_unknown_things_teach(environment, tmp_path):
  refused(main(environment, tmp_path, "tests/runconfig.py:finetun"), "Did you mean 'finetune'")
  refused(main(environment, tmp_path, CONFIG, "--config.pretrain.batch_size=0"), "batch_size = 0")
  refused(
    main(environment, tmp_path, CONFIG, "--config.pretrain.epoch=3.0"), "Did you mean 'epochs'"
  )
  refused(
    main(environment, tmp_path, CONFIG, "--config.seed=a"),
    "config.seed = 'a'; it must be of type int",
  )
  refused(main(environment, tmp_path, "configs/nosuch.py"), "configs/nosuch.py does not exist")
  absent = "--config.unlearn.anchored.budget=20"
  refused(main(environment, tmp_path, CONFIG, absent), "'anchored'", "configs/mini.py:anchored")
  delet = "--config.method.loss=delet"
  refused(main(environment, tmp_path, CONFIG, delet), "config.method.loss", "Did you mean 'delete'")
  assert not list(tmp_path.iterdir())


def test_a_damaged_release_is_refused_before_training(unbroken, environment, tmp_path):
  release = pathlib.Path(shutil.copytree(unbroken[0] / "release", tmp_path / "release"))
  file = next((release / "data").glob("forget-*"))
  whole = file.read_bytes()
  file.write_bytes(whole[:-100])
  workdir, option = tmp_path / "work", f"--config.release={release}"
  refused(main(environment, workdir, CONFIG, option), file.name, "truncated")
  file.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
  refused(main(environment, workdir, CONFIG, option), file.name, "SHA-256")
  assert not (workdir / "models").exists()


def test_weights_of_another_preset_are_refused(unbroken, environment, tmp_path):
  compromised = f"--config.init.compromised={unbroken[0] / 'models' / 'compromised'}"
  release = f"--config.release={unbroken[0] / 'release'}"
  wide = "--config.model.preset=vit_b16_narrow"
  clean = f"--config.init.clean={unbroken[0] / 'models' / 'clean'}"
  done = main(environment, tmp_path, CONFIG, release, compromised, clean, wide)
  refused(done, "config.init.clean", "is a model of the preset 'tiny'")


def test_given_weights_replace_pretraining(unbroken, environment, tmp_path):
  models = unbroken[0] / "models"
  done = main(
    environment,
    tmp_path,
    "tests/runconfig.py:finetune",
    f"--config.release={unbroken[0] / 'release'}",
    f"--config.init.clean={models / 'clean'}",
    f"--config.init.compromised={models / 'compromised'}",
    "--config.attacks.names=()",
  )
  assert done.returncode == 0, done.stderr
  assert not (tmp_path / "models" / "clean").exists()
  for model in ("clean", "finetune"):
    mine, theirs = results(tmp_path, model), results(unbroken[0], model)
    assert (mine["efficacy"], mine["utility"]) == (theirs["efficacy"], theirs["utility"])


def test_a_workdir_fetched_from_what_was_published_goes_on_as_the_one_it_came_from(
  unbroken, environment, tmp_path
):
  published, new = tmp_path / "published", tmp_path / "new"
  publish = ["publish", str(unbroken[0]), f"--to={published}", "--yes"]
  fetch = ["fetch", str(published), str(new)]
  # The preset of the test's config, as main.py gets it.
  code = "import tests.runconfig; from salmu_jax.interop.__main__ import main; print("
  code += " + ".join(f"main({argv!r})" for argv in (publish, fetch)) + ")"
  command = [sys.executable, "-c", code]
  subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
  done = main(environment, new, CONFIG, "--config.method.name=none")
  assert done.returncode == 0, done.stderr
  assert "pretrain compromised: done before" in done.stderr
  for name in ("clean", "compromised"):
    folders = [folder / "results" / f"{name}.json" for folder in (unbroken[0], new)]
    assert folders[0].read_bytes() == folders[1].read_bytes()
    before, now = params(unbroken[0], name), params(new, name)
    jax.tree.map(np.testing.assert_array_equal, before, now)
