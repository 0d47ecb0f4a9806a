"""Fisher forgetting as the paper derives it: one pass, then noise."""

from configs.default import unlearning_run


def mini():
  return unlearning_run("fisher_noise_quarter", budget=1.0)


def vit_b16():
  return unlearning_run("fisher_noise_quarter", budget=1.0, batch_size=256)
