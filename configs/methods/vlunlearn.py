"""VLUnlearn (MultiDelete). The authors train with 16 + 16 rows a step, AdamW 1e-5 to 1e-6, decay
0.02.
"""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run("vlunlearn", learning_rate=0.003, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-5, warmup=0.0, end=0.1, weight_decay=0.02, b2=0.999, eps=1e-8)
  return unlearning_run("vlunlearn", batch_size=16, optimizer=settings, tuning="reproduction")
