"""RAZOR. The authors open at most six layers."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("razor", learning_rate=0.003, args=dict(layers=12), tuning="tuned")


def vit_b16():
  return unlearning_run("razor", learning_rate=1e-6, batch_size=256, tuning="reproduction")
