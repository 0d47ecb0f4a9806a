"""Fisher forgetting: one pass, then noise."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "fisher_noise", learning_rate=1e-05, budget=1.0, args=dict(alpha=0.0001), tuning="tuned"
  )


def vit_b16():
  return unlearning_run("fisher_noise", budget=1.0, batch_size=256, tuning="reproduction")
