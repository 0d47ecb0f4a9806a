"""Text-image space adaptation. The authors' weights are 1.3 and 0.4, rank 5, Adam 0.01."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run(
    "space_adaptation", learning_rate=0.003, args=dict(penalty=0.001), tuning="tuned"
  )


def vit_b16():
  settings = optimizer(0.01, warmup=0.0, end=1.0, b2=0.999, eps=1e-8)
  return unlearning_run(
    "space_adaptation", batch_size=256, optimizer=settings, tuning="reproduction"
  )
