"""Ascent that stops pair by pair. This project's own method, with our settings."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "bounded_ascent", learning_rate=0.001, args=dict(margin=-0.2), tuning="tuned"
  )


def vit_b16():
  return unlearning_run("bounded_ascent", learning_rate=1e-6, batch_size=256, tuning="reproduction")
