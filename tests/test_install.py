"""As a user installs: the library in an environment of its own, and the block for a new TPU VM.

Takes packages from an index; run by `make test-install`.
"""

import ast
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from fresh import PYENV, checkout, done, environment

pytestmark = pytest.mark.install
ROOT = pathlib.Path(__file__).parent.parent

METHOD = """
import optax

from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Weight


def make(optimizer, *, forget: Weight = 1.0):
  mixed = optax.chain(optax.scale(forget), transforms.project_conflicts(), transforms.add_retain())
  tx = optax.chain(mixed, optimizer, transforms.train_only("^text/"))
  return Method(losses.ascent, losses.contrastive, tx)
"""
CONFIG = """
from configs import smoke
from ml_collections import ConfigDict
from salmu_jax.defaults import unlearning_run


def get_config(names="finetune"):
  config = smoke.get_config(names)
  config.generate.update(people=8, images_per_person=8, retain_synth=20, retain_joint=4)
  config.generate.update(scenes=60, classes=10, zero_shot_images=2, image_size=32)
  config.pretrain.update(epochs=2.0, batch_size=16)
  config.attacks.names = ()
  mine = unlearning_run("mine:make", learning_rate=1e-3, args=dict(forget=0.5))
  mine.update(batch_size=8, budget=1.0)
  config.unlearn = ConfigDict({"mine": mine})
  return config
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
  return checkout(tmp_path_factory.mktemp("copy") / "salmu_jax")


@pytest.mark.parametrize(
  "python, how",
  [("3.11", ["--resolution=lowest-direct"]), ("3.13", ["--constraint=requirements.txt"])],
  ids=["lowest versions", "Python 3.13"],
)
def test_the_library_runs_a_method_of_the_users_own_outside_a_checkout(python, how, copy, tmp_path):
  env = environment(tmp_path, python)
  done(["uv", "venv", "--quiet", f"--python={python}", str(tmp_path / "env")], copy, env)
  own = tmp_path / "env" / "bin" / "python"
  done(["uv", "pip", "install", "--quiet", f"--python={own}", *how, "."], copy, env)
  (tmp_path / "mine.py").write_text(METHOD)
  (tmp_path / "own.py").write_text(CONFIG)
  said = done([own.with_name("salmu"), "--config=own.py", "--workdir=run"], tmp_path, env)
  assert "mine" in said and (tmp_path / "run" / "results" / "mine.json").exists()
  command = [own, "-m", "salmu_jax", "--config=configs/smoke.py", "--workdir=run", "--config.x=1"]
  refused = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
  assert refused.returncode == 1 and "config: unknown name 'x'" in refused.stderr


READER = """
import datasets
import mlcroissant

data = datasets.load_dataset("release")
croissant = mlcroissant.Dataset("release/croissant.json")
for split, rows in data.items():
  assert min(rows[0]["image"].size) == 32, rows[0]
  records = list(croissant.records(f"rows_{split}"))
  texts = [record[f"rows_{split}/text"].decode() for record in records]
  assert texts == rows["text"] and min(records[0][f"rows_{split}/image"].size) == 32
  print(split, len(rows))
"""
GENERATE = """
from salmu_jax import defaults
from salmu_jax.generate import generator

settings = defaults.get_config().generate
settings.update(people=8, images_per_person=8, retain_synth=20, retain_joint=4, shard_rows=40)
settings.update(scenes=60, classes=10, zero_shot_images=2, image_size=32, workers=1)
print(generator.generate(settings, 0, "release")["counts"])
"""


def test_a_release_is_read_by_the_libraries_of_the_hub_with_its_pictures_as_pictures(tmp_path):
  here = {**os.environ, "PYTHONPATH": str(ROOT)}
  counts = done([sys.executable, "-c", GENERATE], tmp_path, here)
  env = environment(tmp_path, "3.12") | {"HF_HUB_OFFLINE": "1"}
  done(["uv", "venv", "--quiet", "--python=3.12", "env"], tmp_path, env)
  python = tmp_path / "env" / "bin" / "python"
  wanted = ["datasets", "mlcroissant", "pillow"]
  done(["uv", "pip", "install", "--quiet", f"--python={python}", *wanted], tmp_path, env)
  said = done([python, "-c", READER], tmp_path, env)
  for split, rows in ast.literal_eval(counts.splitlines()[-1]).items():
    assert f"{split} {rows}\n" in said


def test_the_block_for_a_new_tpu_vm_runs_as_it_is_pasted(copy, tmp_path):
  page = (ROOT / "docs" / "launch.md").read_text()
  block = re.search(r"<!-- block: vm -->\n```\n(.*?)```", page, re.S)[1]
  changes = {
    # There is no network to the outside: the code from here, no PyTorch, a benchmark in small.
    "git clone https://github.com/salmu-jax/salmu_jax": f"cp -r {copy} .",
    "uv pip install --quiet --torch-backend=cpu torch==2.13.0": "true",
    "nohup python main.py --config=configs/vit_b16.py:vlunlearn --workdir=gs://BUCKET/run "
    "> run.log 2>&1 &": "python main.py --config=tests/hostconfig.py "
    "--config.attacks.names='()' --workdir=run > run.log 2>&1",
    "tail -f run.log": "cat run.log && python --version",
  }
  for before, after in changes.items():
    assert block.count(before) == 1, before
    block = block.replace(before, after)
  env = environment(tmp_path, "3.12", "3.10")
  (tmp_path / "bin").mkdir()
  old = next(iter(PYENV.glob("3.10.*/bin/python3.10")), shutil.which("python3"))
  (tmp_path / "bin" / "python3").symlink_to(old)
  env["PATH"] = f"{tmp_path / 'bin'}:{env['PATH']}"
  said = done(["bash", "-euc", block], tmp_path, env)
  assert "Done in" in said and "Python 3.12" in said
