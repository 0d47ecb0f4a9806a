"""Strictness for every test: eight fake CPU devices, rank promotion raises, absl flags parsed."""

import io
import os

from quick_compile import FLAGS

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Nothing compiled is kept: without the fusion emitters, a program over several CPU devices hangs
# when it is read back.
os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "false"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {FLAGS}"

import jax
import pytest
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags, which are parsed only under absl.app.
flags.FLAGS.mark_as_parsed()


def pytest_collection_modifyitems(items):
  """The files whose tests start processes come first: they take the longest."""
  first = ("test_hosts", "test_run", "test_released", "test_notebook")
  place = lambda item: first.index(item.path.stem) if item.path.stem in first else len(first)
  items.sort(key=place)


def pytest_runtest_setup(item):
  """Everything gives way to test_hosts, whose processes wait for each other all the time: where
  they have to share the cores with another worker's tests, they take three times as long.
  """
  if item.path.stem != "test_hosts" and os.nice(0) < 10:
    os.nice(10)


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
