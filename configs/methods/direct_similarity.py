"""Minimising the cosine of forget pairs."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("direct_similarity", learning_rate=3e-05, tuning="tuned")


def vit_b16():
  return unlearning_run(
    "direct_similarity", learning_rate=1e-6, batch_size=256, tuning="reproduction"
  )
