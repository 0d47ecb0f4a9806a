"""Targeted forgetting of subgroups. Settings are ours."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("subgroup", learning_rate=0.001, args=dict(soup=1.0), tuning="tuned")


def vit_b16():
  return unlearning_run("subgroup", learning_rate=1e-6, batch_size=256, tuning="reproduction")
