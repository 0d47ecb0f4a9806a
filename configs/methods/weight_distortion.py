"""Weight distortion. The authors' sigma is 0.02, their learning rate 1e-5, with batches of 128.

`mini()` is not searched yet.
"""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("weight_distortion", learning_rate=1e-4, tuning="own")


def vit_b16():
  return unlearning_run(
    "weight_distortion", learning_rate=1e-5, batch_size=128, tuning="reproduction"
  )
