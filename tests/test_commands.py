"""Every command on README and the pages of docs/ is one that the program takes.

Blocks that are followed as they stand are tested where the work is: README's method in
test_recipes, the TPU VM in test_install, own pairs in test_own, publishing in test_run.
"""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import pytest
from absl import flags
from ml_collections import config_flags

from salmu_jax.benchmark import configuration
from salmu_jax.runtime import sharding

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands():
  """The commands of all blocks, each in one line, without what a shell makes of its output."""
  found = set()
  for page in PAGES:
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.M | re.S):
      for line in block.replace("\\\n", " ").splitlines() if not language else ():
        command = re.search(r"(python (main\.py|-m salmu_jax)|salmu --config).*", line)
        if command:
          kept = re.split(r" [>#] ?| 2>&1", command[0])[0]
          # Inside --command="..." of another program.
          found.add(" ".join(kept.removesuffix('"').split()))
  return sorted(found)


# ml_collections loads a config file so.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")
BENCHMARKS = [command for command in commands() if "main.py" in command or "salmu --" in command]
MODULES = [command for command in commands() if " -m " in command]


def test_the_pages_have_commands_of_all_kinds():
  assert len(BENCHMARKS) > 10 and len(MODULES) > 4
  assert len(BENCHMARKS) + len(MODULES) == len(commands())


@pytest.mark.parametrize("command", [c for c in BENCHMARKS if ":mine" not in c])
def test_a_command_that_runs_a_benchmark_has_a_config_and_fields_that_are_there(
  command, monkeypatch
):
  own = flags.FlagValues()
  config = config_flags.DEFINE_config_file("config", flag_values=own)
  for name in ("workdir", "coordinator", "process", "processes", "profile"):
    flags.DEFINE_string(name, None, "", flag_values=own)
  argv = ["main.py", *(word for word in shlex.split(command)[1:] if word != "main.py")]
  monkeypatch.setattr(sys, "argv", argv)  # where ml_collections looks for fields
  assert own(argv) == ["main.py"] and own.workdir
  settings = own[config.name].value
  if settings.model.attention == "cudnn":
    settings.model.attention = "plain"  # which needs a GPU
  configuration.check(settings, sharding.make_mesh(jax.devices()[:1]))


@pytest.mark.parametrize("command", MODULES)
def test_a_command_of_a_module_names_options_that_its_help_has(command):
  _, _, module, *words = shlex.split(command)
  action = words[:1] if words and words[0] in ("publish", "fetch") else []
  helped = subprocess.run(
    [sys.executable, "-m", module, *action, "--help"], cwd=ROOT, capture_output=True, text=True
  )
  for word in words:
    if word.startswith("--"):
      assert re.search(rf"--(\[no\])?{word[2:].partition('=')[0]}\b", helped.stdout), (word, helped)


SMOKE = "main.py --config=configs/smoke.py"


@pytest.mark.parametrize(
  ("command", "said"),
  [
    (f"{SMOKE} --config.seed=1 --wrokdir={{tmp}}", "flag 'wrokdir'. Did you mean: workdir?"),
    (f"{SMOKE} --config.seed=1 --workdir={{tmp}} --processes=two", "--processes=two: invalid"),
    (f"{SMOKE} --workdir={{tmp}} --flagfile=none", "Unable to open flagfile"),
    (f"{SMOKE} --workdir={{tmp}} --stderrthreshold=zz", "--stderrthreshold must be one of"),
    (f"{SMOKE} --workdir={{tmp}} --profile_file=/no/x", "--profile_file=/no/x cannot be written"),
    (f"{SMOKE} --workdir={'a' * 300}", "--workdir has a name of 300 bytes"),
    ("-m salmu_jax.generate --config=configs/none.py --output={tmp}", "none.py does not exist."),
    (
      "-m salmu_jax.generate --config=configs --output={tmp}",
      "configs is a folder. Name a config file",
    ),
    (
      "-m salmu_jax.generate --config=configs/smoke.py --output={tmp} --config.sed=1",
      "Did you mean 'seed'",
    ),
    ("-m salmu_jax.aot --config=configs/none.py", "none.py does not exist. Name a config file"),
    (
      "-m salmu_jax.aot --config=configs/smoke.py --config.seed=x",
      "config.seed = 'x'; it must be of type int",
    ),
    ("-m salmu_jax.report experiments/mini/results --out=", "--out is empty. Name a file"),
    ("-m salmu_jax.report none", "none is not a folder. Name a workdir"),
    ("-m salmu_jax.report {tmp} --out={tmp}", "is not a folder. Name a workdir"),
    (f"-m salmu_jax.interop.convert {'a' * 300} OUT", "a name of 300 bytes"),
    ("-m salmu_jax.results.schema results.json", "unrecognized arguments: results.json"),
  ],
)
def test_a_wrong_argument_of_any_command_is_named_without_a_traceback(command, said, tmp_path):
  words = command.format(tmp=tmp_path / "made").split()
  ended = subprocess.run(
    [sys.executable, *words],
    cwd=ROOT,
    env={**os.environ, "PYTHONWARNINGS": "error"},
    capture_output=True,
    text=True,
    timeout=120,
  )
  assert ended.returncode in (1, 2) and said in " ".join(ended.stderr.split())
  assert "Traceback" not in ended.stderr and not list(tmp_path.iterdir())
