"""Losses on embeddings: `loss(z, reference) -> ()`, mathematics on matrices with unit rows.

`z` and `reference` are `salmu_jax.models.clip.Embeddings` of the same batch, under the parameters
in training and under those the run started from. A loss that compares the two is marked
`comparing`. The others take None for `reference`, and the compiler then drops its forward pass.
Unlearning descends on every loss here, so a loss that should rise is negated: `ascent` is the
negated contrastive loss.

In the docstrings, u and v are the embeddings of images and captions, S is the (B, B) matrix of
their cosines, and p are the in-batch matching probabilities softmax(scale S), over captions for
each image and over images for each caption. Index 0 marks the reference.
"""

from salmu_jax.losses.forgetting import (
  anchored_ascent,
  ascent,
  bounded_ascent,
  component_removed,
  decoupling,
  excluded_pair,
  mismatched_target,
  neutral_target,
  npo,
  pair_similarity,
  zero_similarity,
)
from salmu_jax.losses.loss import Loss, compares, comparing, weighted
from salmu_jax.losses.pairing import contrastive, contrastive_generic, contrastive_shuffled, sigmoid
from salmu_jax.losses.retaining import (
  divergence,
  embedding_retention,
  retention,
  similarity_retention,
  surrogate_retention,
  text_retention,
)
from salmu_jax.losses.similarity import matching_accuracy, similarities

__all__ = [
  "Loss",
  "anchored_ascent",
  "ascent",
  "bounded_ascent",
  "compares",
  "comparing",
  "component_removed",
  "contrastive",
  "contrastive_generic",
  "contrastive_shuffled",
  "decoupling",
  "divergence",
  "embedding_retention",
  "excluded_pair",
  "matching_accuracy",
  "mismatched_target",
  "neutral_target",
  "npo",
  "pair_similarity",
  "retention",
  "sigmoid",
  "similarities",
  "similarity_retention",
  "surrogate_retention",
  "text_retention",
  "weighted",
  "zero_similarity",
]
