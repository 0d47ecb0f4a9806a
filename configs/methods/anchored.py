"""Anchored caption editing. This project's own, so nobody's settings but ours."""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  settings = optimizer(3e-3, name="muon")
  return unlearning_run("anchored", batch_size=16, optimizer=settings, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-4, name="muon")
  return unlearning_run("anchored", batch_size=64, optimizer=settings, tuning="reproduction")
