"""VL-Eraser. Rank and share are ours."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "vl_eraser", learning_rate=0.003, args=dict(coefficient=4.0), tuning="tuned"
  )


def vit_b16():
  return unlearning_run("vl_eraser", learning_rate=1e-6, batch_size=256, tuning="reproduction")
