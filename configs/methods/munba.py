"""MUNBa: bargaining between forget and retain."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("munba", learning_rate=0.0003, tuning="tuned")


def vit_b16():
  return unlearning_run("munba", learning_rate=1e-6, batch_size=256, tuning="reproduction")
