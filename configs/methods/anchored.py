"""Anchored caption editing. This project's own, so nobody's settings but ours.

Those of ViT-B/16 are not searched. Muon moves each matrix by the same length whatever its gradient,
so the rate is a thirtieth of mini's: trained at length, a tower has less to move. A batch of 64 is
the least that spreads over a slice of 64 chips; six surrogates a row make it 448 captions.
"""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  settings = optimizer(3e-3, name="muon")
  return unlearning_run("anchored", batch_size=16, optimizer=settings, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-4, name="muon")
  return unlearning_run("anchored", batch_size=64, optimizer=settings, tuning="reproduction")
