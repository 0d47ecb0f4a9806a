"""Negative preference optimisation. The authors' beta is 0.1."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("npo", learning_rate=0.0003, tuning="tuned")


def vit_b16():
  return unlearning_run("npo", learning_rate=1e-6, batch_size=256, tuning="reproduction")
