"""Anchored caption editing. This project's own method, with our settings.

The ViT-B/16 settings were not searched. Muon moves each matrix by the same length whatever its
gradient, and a tower that was trained at length has less to move, so the learning rate is a
thirtieth of mini's. A batch of 64 is the smallest that splits over a slice of 64 chips; six
surrogates per row make it 448 captions.
"""

from salmu_jax.defaults import optimizer, unlearning_run


def mini():
  settings = optimizer(3e-3, name="muon")
  return unlearning_run("anchored", batch_size=16, optimizer=settings, tuning="tuned")


def vit_b16():
  settings = optimizer(1e-4, name="muon")
  return unlearning_run("anchored", batch_size=64, optimizer=settings, tuning="reproduction")
