"""Gradient surgery (PCGrad)."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("gradient_surgery", learning_rate=3e-05, args=dict(retain=0.3))


def vit_b16():
  return unlearning_run(
    "gradient_surgery", learning_rate=1e-6, batch_size=256, tuning="reproduction"
  )
