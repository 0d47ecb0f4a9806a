"""Profiles of training steps: which steps, where they go, and what they name."""

import gzip
import json

import jax
import jax.numpy as jnp
import pytest
from little import MODEL, PARAMS, half, optimizer_settings

from salmu_jax import train
from salmu_jax.errors import InputError
from salmu_jax.runtime import sharding, tracing
from salmu_jax.train import optimizers


def test_the_chosen_steps_are_traced_and_no_others(tmp_path, monkeypatch):
  calls = []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda *args, **kwargs: calls.append("start"))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: calls.append("stop"))
  with tracing.tracing((3, 4), tmp_path) as trace:
    for step in range(1, 8):
      trace(step)
      calls.append(step)
  assert calls == [1, 2, "start", 3, 4, "stop", 5, 6, 7]
  calls.clear()
  with tracing.tracing((3, 9), tmp_path) as trace:  # the run ends first
    trace(3)
  with tracing.tracing((3, 4), tmp_path) as trace:  # gone on with after them
    trace(5)
  with tracing.tracing(None, tmp_path) as trace:
    trace(3)
  assert calls == ["start", "stop"]


def test_a_trace_lies_in_the_models_folder_and_opens_in_perfetto(tmp_path):
  work = jax.jit(lambda x: jnp.sin(x) @ x)
  with tracing.tracing((2, 2), tmp_path / "models" / "clean") as trace:
    for step in (1, 2, 3):
      trace(step)
      work(jnp.ones((32, 32))).block_until_ready()
  folder = tmp_path / "models" / "clean" / "profile"
  (perfetto,) = folder.rglob("perfetto_trace.json.gz")
  assert json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
  assert list(folder.rglob("*.xplane.pb"))


def test_towers_losses_and_transforms_have_names_in_the_compiled_step():
  one = sharding.make_mesh(jax.devices()[:1])
  tx = optimizers.make_optimizer(optimizer_settings(), 4)
  step = train.jitted_pretrain_step(MODEL, tx, one)
  state = train.start_state(PARAMS, tx, one)
  batch = {name: half(0, 8)[name] for name in ("image", "text")}
  text = step.lower(state, batch).as_text(debug_info=True)
  for name in ("visual", "text/", "loss", "transforms"):
    assert name in text


@pytest.mark.parametrize("text", ["20", "a:b", "0:4", "5:4", "1:2:3", ":", "-1:4", "9" * 5000])
def test_a_profile_that_is_no_two_steps_is_refused(text):
  with pytest.raises(InputError, match=f"--profile={text} is not FROM:TO"):
    tracing.steps(text)


def test_a_profile_is_read_as_two_steps():
  assert tracing.steps("") is None and tracing.steps("20:24") == (20, 24)
