"""Forget images with each other's captions."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("shuffled_captions", learning_rate=3e-05, tuning="tuned")


def vit_b16():
  return unlearning_run(
    "shuffled_captions", learning_rate=1e-5, batch_size=256, tuning="reproduction"
  )
