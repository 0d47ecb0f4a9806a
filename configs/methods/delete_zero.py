"""DELETE with target similarity 0; the settings of cliperase_zero."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run("delete_zero", learning_rate=0.001, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-7, warmup=0.0, weight_decay=1e-3, b2=0.999, eps=1e-8)
  return unlearning_run("delete_zero", batch_size=16, optimizer=settings, tuning="reproduction")
