"""Ascent in the null space of retain gradients."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("null_space", learning_rate=3e-05, args=dict(rank=2), tuning="tuned")


def vit_b16():
  return unlearning_run("null_space", learning_rate=1e-6, batch_size=256, tuning="reproduction")
