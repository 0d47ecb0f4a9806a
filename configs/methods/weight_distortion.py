"""Weight distortion. The authors' sigma is 0.02, their learning rate 1e-5, with batches of 128."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "weight_distortion", learning_rate=0.001, args=dict(sigma=0.04), tuning="tuned"
  )


def vit_b16():
  return unlearning_run(
    "weight_distortion", learning_rate=1e-5, batch_size=128, tuning="reproduction"
  )
