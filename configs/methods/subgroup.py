"""Targeted forgetting of subgroups. Settings are ours. `mini()` is not searched yet."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("subgroup", learning_rate=1e-4, tuning="own")


def vit_b16():
  return unlearning_run("subgroup", learning_rate=1e-6, batch_size=256, tuning="reproduction")
