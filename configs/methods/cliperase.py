"""CLIPErase as in the paper: Adam 1e-6, batches of 16, weights 3, 1, 3."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run("cliperase", learning_rate=0.0003, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-6, warmup=0.0, end=1.0, b2=0.999, eps=1e-8)
  return unlearning_run("cliperase", batch_size=16, optimizer=settings, tuning="reproduction")
