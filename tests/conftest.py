"""Strictness for every test: eight fake CPU devices, rank promotion raises, absl flags parsed."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import jax
from absl import flags

jax.config.update("jax_numpy_rank_promotion", "raise")
# grain's worker processes read absl flags, which are parsed only under absl.app.
flags.FLAGS.mark_as_parsed()
