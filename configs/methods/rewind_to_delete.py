"""Rewind-to-Delete. The authors' sigma is 0.01, with as many steps back as forward."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("rewind_to_delete", learning_rate=3e-5, tuning="tuned")


def vit_b16():
  return unlearning_run(
    "rewind_to_delete", learning_rate=1e-6, batch_size=256, tuning="reproduction"
  )
