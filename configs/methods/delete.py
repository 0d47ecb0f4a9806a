"""DELETE as in the paper: SGD with momentum 0.9 at 5e-5 for ViTs, batches of 128."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run("delete", learning_rate=0.0003, tuning="tuned")


def vit_b16():
  settings = optimizer(5e-5, name="sgd", warmup=0.0, end=1.0, b1=0.9)
  return unlearning_run("delete", batch_size=128, optimizer=settings, tuning="reproduction")
