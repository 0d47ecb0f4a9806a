"""Variables of the environment that JAX or XLA do not take are named; warnings stay warnings."""

import os
import pathlib
import subprocess
import sys
import warnings

import pytest

from salmu_jax import variables
from salmu_jax.errors import InputError
from salmu_jax.runtime import surroundings

ROOT = pathlib.Path(__file__).parent.parent


@pytest.mark.parametrize(
  ("flags", "reason"),
  [
    ("nonsense", 'Could not open file "nonsense"'),
    ("==", 'Could not open file "=="'),
    ("--xla_nonsense=1", "Unknown flag in XLA_FLAGS: --xla_nonsense=1"),
    ("--xla_cpu_enable_fast_math=maybe", "Couldn't interpret value maybe"),
  ],
)
def test_flags_that_xla_does_not_take_are_named(flags, reason, monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", flags)
  with pytest.raises(InputError) as error:
    variables.check()
  assert f"variable XLA_FLAGS = {flags!r}" in str(error.value) and reason in str(error.value)


def test_flags_that_xla_takes_pass(monkeypatch):
  for flags in ("", " ", "--xla_force_host_platform_device_count=2"):
    monkeypatch.setenv("XLA_FLAGS", flags)
    variables.check()


@pytest.mark.parametrize(
  ("command", "name"),
  [
    ("main.py --config=configs/smoke.py --workdir={tmp}", "JAX_ENABLE_X64"),
    ("-m salmu_jax.aot --config=configs/smoke.py", "JAX_NUMPY_DTYPE_PROMOTION"),
  ],
)
def test_a_value_that_jax_does_not_take_is_said_of_its_variable_and_not_of_the_config(
  command, name, tmp_path
):
  words = command.format(tmp=tmp_path / "run").split()
  environment = os.environ | {name: "banana"}
  ended = subprocess.run(
    [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True
  )
  assert (
    ended.returncode == 1 and f"variable {name} = 'banana' is not valid for JAX" in ended.stderr
  )
  assert "Traceback" not in ended.stderr and "smoke.py" not in ended.stderr


@pytest.mark.parametrize("option", ["error", "e", "error::UserWarning"])
def test_a_warning_that_python_is_told_to_make_an_error_is_shown(option, monkeypatch, capsys):
  monkeypatch.setattr(sys, "warnoptions", [option, "ignore::ImportWarning"])
  monkeypatch.setenv("PYTHONWARNINGS", f"{option},ignore::ImportWarning")
  with warnings.catch_warnings():
    warnings.simplefilter("error", UserWarning)
    surroundings.settle()
    with pytest.warns(UserWarning, match="of a library"):
      warnings.warn("of a library", stacklevel=1)
    assert "error" not in {action for action, *_ in warnings.filters}
  assert sys.warnoptions == ["ignore::ImportWarning"]
  assert os.environ["PYTHONWARNINGS"] == "ignore::ImportWarning"
  assert "salmu_jax shows the warnings instead" in capsys.readouterr().err
  surroundings.settle()
  assert not capsys.readouterr().err
