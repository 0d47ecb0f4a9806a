"""Gradient difference. The authors' weights are 1 and 1."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("grad_diff", learning_rate=0.0001, tuning="tuned")


def vit_b16():
  return unlearning_run("grad_diff", learning_rate=1e-6, batch_size=256, tuning="reproduction")
