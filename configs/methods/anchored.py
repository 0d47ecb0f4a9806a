"""Anchored caption editing. This project's own, so nobody's settings but ours."""

from configs.default import unlearning_run


def mini():
  return unlearning_run("anchored", learning_rate=2e-3, batch_size=16)


def vit_b16():
  return unlearning_run("anchored", learning_rate=1e-5, batch_size=64)
