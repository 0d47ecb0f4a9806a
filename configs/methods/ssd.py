"""Selective synaptic dampening: one pass. The authors' alpha is 10, lambda 1."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("ssd", learning_rate=1e-05, budget=1.0, tuning="tuned")


def vit_b16():
  return unlearning_run("ssd", budget=1.0, batch_size=256, tuning="reproduction")
