"""A config file, or an override, that is wrong is named with the reason before flags are parsed."""

import pathlib
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from salmu_jax import config_file
from salmu_jax.errors import InputError

ROOT = pathlib.Path(__file__).parent.parent
GOOD = (
  "from configs import smoke\n\n\ndef get_config(names=''):\n  return smoke.get_config(names)\n"
)
FILES = {
  "a syntax error": ("def get_config(:\n", r"own\.py, line 1: SyntaxError"),
  "an import": ("import nothing_such\n", r"own\.py, line 1: ModuleNotFoundError"),
  "an error in the function": (
    "from configs import smoke\ndef get_config(names=''):\n  c = smoke.get_config()\n"
    "  c.pretran.epochs = 1\n  return c\n",
    r"own\.py, line 4: AttributeError: .*pretran",
  ),
  "another kind of value": (
    "from configs import smoke\ndef get_config(names=''):\n  c = smoke.get_config()\n"
    "  c.unlearn = [1]\n  return c\n",
    r"own\.py, line 4: TypeError",
  ),
  "no function": ("x = 1\n", r"own\.py has no function get_config\. Write def"),
  "no config": ("def get_config(names=''):\n  return 1\n", "get_config returned int"),
  "a config that takes no overrides": (
    "from configs import smoke\nfrom ml_collections import FrozenConfigDict\n"
    "def get_config(names=''):\n  return FrozenConfigDict(smoke.get_config(names))\n",
    "get_config returned FrozenConfigDict",
  ),
  "an exit": ("import sys\nsys.exit(0)\n", r"own\.py, line 2: SystemExit: 0"),
  "an exception that is none": ("raise GeneratorExit\n", r"own\.py, line 1: GeneratorExit"),
  "an endless function": (
    "def get_config(names=''):\n  return get_config()\n",
    r"own\.py, line 2: RecursionError",
  ),
  "bytes that are no text": (b"\xff\xfe", r"own\.py.*(SyntaxError|ValueError|Unicode)"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_gives_no_config_is_named_with_its_line(case, tmp_path):
  content, message = FILES[case]
  path = tmp_path / "own.py"
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  with pytest.raises(InputError, match=message):
    config_file.load_named(str(path))


def test_a_file_that_is_not_there_or_takes_no_names_is_named(tmp_path):
  with pytest.raises(InputError, match=r"gone\.py does not exist"):
    config_file.load_named(str(tmp_path / "gone.py"))
  with pytest.raises(InputError, match="is a folder"):
    config_file.load_named(str(tmp_path))
  path = tmp_path / "own.py"
  path.write_text("from configs import smoke\nget_config = lambda: smoke.get_config()\n")
  assert isinstance(config_file.load(path), ConfigDict)
  with pytest.raises(InputError, match="get_config cannot be called"):
    config_file.load_named(f"{path}:finetune")


def test_two_configs_are_refused():
  with pytest.raises(InputError, match=r"is given 2 times: configs/mini\.py, configs/smoke\.py\."):
    config_file.named(["--config=configs/mini.py", "--config", "configs/smoke.py"])
  assert config_file.named(["--config", "configs/mini.py:npo"]) == "configs/mini.py:npo"
  assert config_file.named(["--workdir=x"]) is None


OVERRIDES = {
  "--config.=1": r"config: unknown name ''\. Known: accumulate",
  "--config.pretrain.=1": r"config\.pretrain: unknown name ''\. Known: ",
  "--config.pretran.epochs=1": r"config: unknown name 'pretran'\. Did you mean 'pretrain'",
  "--config.pretrain.epoch=1": r"config\.pretrain: unknown name 'epoch'\. Did you mean 'epochs'",
  "--config.unlearn.finetune.args.margin=1": (
    r"args: unknown name 'margin'.*Set others in args there"
  ),
  "--config.unlearn.nope.budget=1": (
    r"config\.unlearn: unknown name 'nope'.*Only runs that the config includes have fields"
  ),
  "--config.seed.x=1": r"config\.seed is 0, not a section, so it has no field 'x'",
  "--noconfig.tensorbord": r"config: unknown name 'tensorbord'",
  "--noconfig.tensorboard=1": (
    r"--noconfig\.tensorboard=1: --no applies only to a field that is True"
  ),
  "--noconfig.seed": r"--noconfig\.seed: --no .*Write --config\.seed=VALUE",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_an_override_of_no_field_is_named_with_the_nearest_one(override, tmp_path):
  path = tmp_path / "own.py"
  path.write_text(GOOD)
  config = config_file.load(path)
  with pytest.raises(InputError, match=OVERRIDES[override]):
    config_file.check_overrides(config, ["main.py", f"--config={path}", override])
  config_file.check_overrides(config, ["--config.seed=1", "--noconfig.tensorboard"])


def test_a_value_of_another_type_is_named_with_one_that_fits(tmp_path):
  path = tmp_path / "own.py"
  path.write_text(GOOD)
  config = config_file.load(path)
  for override, message in (
    ("--config.seed=abc", "config.seed = 'abc'; it must be of type int, such as 0."),
    ("--config.generate=3", "config.generate is a section, which takes no value. Set its fields"),
    (
      "--config.unlearn.finetune.args=3",
      "config.unlearn.finetune.args is a section",
    ),
  ):
    assert config_file.wrong_type(override, config).startswith(message)


def test_a_command_runs_its_config_file_once_and_takes_overrides_from_the_command_line(tmp_path):
  path, runs = tmp_path / "own.py", tmp_path / "runs"
  path.write_text(
    "import dataclasses, pathlib\n@dataclasses.dataclass\nclass Own:\n  x: 'int' = 0\n"
    f"with open({str(runs)!r}, 'a') as file: file.write('run ')\n{GOOD}"
  )
  code = (
    "import sys\nfrom salmu_jax import config_flag\nflag = config_flag.define('')\n"
    "config_flag.parse(sys.argv)\nprint(flag.value.seed, flag.value.is_locked)"
  )
  words = [sys.executable, "-c", code, f"--config={path}", "--config.seed=5"]
  done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
  assert (done.stdout, runs.read_text()) == ("5 True\n", "run "), done.stderr
