"""Descent-to-Delete: fine-tuning on retain, then noise."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "descent_to_delete", learning_rate=0.001, args=dict(sigma=0.01), tuning="tuned"
  )


def vit_b16():
  return unlearning_run(
    "descent_to_delete", learning_rate=1e-6, batch_size=256, tuning="reproduction"
  )
