"""CLIPErase as in its code: AdamW 1e-7, cosine, decay 1e-3, 16 + 16 rows a step."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  return unlearning_run("cliperase_zero", learning_rate=0.001, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-7, warmup=0.0, weight_decay=1e-3, b2=0.999, eps=1e-8)
  return unlearning_run("cliperase_zero", batch_size=16, optimizer=settings, tuning="reproduction")
