"""The reward of distance. The authors' weight is 1, their learning rate 1e-5, batches of 128."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "distance_reward", learning_rate=0.001, args=dict(weight=100.0), tuning="tuned"
  )


def vit_b16():
  return unlearning_run(
    "distance_reward", learning_rate=1e-5, batch_size=128, tuning="reproduction"
  )
