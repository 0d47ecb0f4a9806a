"""Gradient ascent on forget, clipped."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("negative_gradient", learning_rate=3e-05, tuning="tuned")


def vit_b16():
  return unlearning_run(
    "negative_gradient", learning_rate=1e-6, batch_size=256, tuning="reproduction"
  )
