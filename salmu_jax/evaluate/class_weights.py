"""Zero-shot classification, which measures general knowledge: a model's class weights."""

from collections.abc import Callable

import numpy as np

from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.evaluate import metrics


def prompts(zero_shot: ZeroShotSet) -> list[str]:
  """All prompts of all classes, class by class."""
  return [prompt.format(name) for name in zero_shot.classes for prompt in zero_shot.prompts]


def of(zero_shot: ZeroShotSet, embed: Callable[[list[str]], np.ndarray]) -> np.ndarray:
  """(C, D) class weights of a model, the prompts of each class pooled.

  Args:
    zero_shot: the classes and their prompts.
    embed: embed(N texts) -> (N, D) unit rows.
  """
  rows = embed(prompts(zero_shot))
  shape = (len(zero_shot.classes), len(zero_shot.prompts), rows.shape[-1])
  return np.asarray(metrics.class_weights(rows.reshape(shape)))
