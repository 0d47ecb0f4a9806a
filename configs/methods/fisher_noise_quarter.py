"""Fisher forgetting as the paper derives it: one pass, then noise."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run(
    "fisher_noise_quarter", learning_rate=1e-05, budget=1.0, args=dict(alpha=1e-05), tuning="tuned"
  )


def vit_b16():
  return unlearning_run("fisher_noise_quarter", budget=1.0, batch_size=256, tuning="reproduction")
