"""Alignment Calibration. Weights are ours. `mini()` is not searched yet."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("alignment_calibration", learning_rate=1e-4, tuning="own")


def vit_b16():
  return unlearning_run(
    "alignment_calibration", learning_rate=1e-6, batch_size=256, tuning="reproduction"
  )
