"""SCRUB. The authors' learning rate is 5e-4, alpha 0.01 to 0.5."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run("scrub", learning_rate=0.0003, args=dict(ascent=1.0), tuning="tuned")


def vit_b16():
  settings = optimizer(5e-4, warmup=0.0, end=1.0, weight_decay=5e-4, b2=0.999, eps=1e-8)
  return unlearning_run("scrub", batch_size=256, optimizer=settings, tuning="reproduction")
