"""Strictness for every test: eight fake CPU devices, rank promotion raises, absl flags parsed."""

import io
import os
import shutil
import tempfile

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Tests run each program a few times at most, so compile time is what counts.
os.environ["XLA_FLAGS"] = (
  "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0 "
  "--xla_llvm_disable_expensive_passes=true"
)

import jax
import pytest
from absl import flags

from salmu_jax.runtime import compilations

jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags, which are parsed only under absl.app.
flags.FLAGS.mark_as_parsed()


def pytest_configure(config):
  """A program is compiled once in all processes of a test run, those that tests start included."""
  if not hasattr(config, "workerinput"):  # not a worker of xdist, which inherits the environment
    folder = tempfile.mkdtemp(prefix="salmu_jax_tests_")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = folder
    config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
  compilations.start(compilations.DEFAULT)


@pytest.fixture(scope="session")
def copies(tmp_path_factory):
  """{kind: folder} of the same made-up ImageNet; a test that changes one works on a copy."""
  from imagenets import write_all

  return write_all(tmp_path_factory)


@pytest.fixture(scope="session")
def plain(tmp_path_factory):
  """The report of the made-up results; tests read it only."""
  from madeup import everything, report

  return report(tmp_path_factory.mktemp("plain"), *everything())


@pytest.fixture
def board(tmp_path):
  """A leaderboard to submit to: a folder with the results of Clean, Compromised and a method."""
  from submissions import SMALL

  from salmu_jax.runtime import files

  for name, result in SMALL.items():
    files.write_json(tmp_path / "board" / f"{name}.json", result)
  return tmp_path / "board"


@pytest.fixture
def said(monkeypatch):
  """A call that gives what the terminal has shown."""
  from rich.console import Console

  from salmu_jax.runtime import progress

  text = io.StringIO()
  monkeypatch.setattr(progress, "console", Console(file=text, width=10_000))
  return text.getvalue


@pytest.fixture
def decodings(monkeypatch):
  """A list that grows by an entry with every picture that is decoded."""
  from salmu_jax.data import images

  calls, decode = [], images.decode
  monkeypatch.setattr(images, "decode", lambda *args: calls.append(1) or decode(*args))
  return calls
