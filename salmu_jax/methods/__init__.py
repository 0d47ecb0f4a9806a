"""Unlearning methods by name: each is `make(optimizer, **args) -> Method` in a file of its own."""

from salmu_jax.methods import (
  direct_similarity,
  finetune,
  generic_captions,
  negative_gradient,
  vlunlearn,
)

METHODS = {
  "direct_similarity": direct_similarity.make,
  "finetune": finetune.make,
  "generic_captions": generic_captions.make,
  "negative_gradient": negative_gradient.make,
  "vlunlearn": vlunlearn.make,
}
