"""The reward of distance. The authors' weight is 1, their learning rate 1e-5, batches of 128.

`mini()` is not searched yet.
"""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("distance_reward", learning_rate=1e-4, tuning="own")


def vit_b16():
  return unlearning_run(
    "distance_reward", learning_rate=1e-5, batch_size=128, tuning="reproduction"
  )
