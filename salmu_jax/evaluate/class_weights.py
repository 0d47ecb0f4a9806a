"""Zero-shot classification, which measures general knowledge: a model's class weights, cached."""

import os
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.evaluate import metrics
from salmu_jax.runtime import files, hosts


def prompts(zero_shot: ZeroShotSet) -> list[str]:
  """All prompts of all classes, class by class."""
  return [prompt.format(name) for name in zero_shot.classes for prompt in zero_shot.prompts]


def load_or_embed(
  zero_shot: ZeroShotSet,
  embed: Callable[[list[str]], np.ndarray],
  folder: str | os.PathLike,
  key: Any,
) -> np.ndarray:
  """(C, D) class weights of a model, from the cache or from its text tower.

  Args:
    zero_shot: the classes and their prompts.
    embed: embed(N texts) -> (N, D) unit rows.
    folder: of the cache.
    key: JSON value that identifies the weights, tokenizer and precision of the model.
  """
  name = files.digest([key, zero_shot.classes, zero_shot.prompts])
  path = pathlib.Path(folder) / f"{name}.npy"
  if hosts.flag_of_first(path.exists()):
    return np.load(path, allow_pickle=False)
  rows = embed(prompts(zero_shot))
  shape = (len(zero_shot.classes), len(zero_shot.prompts), rows.shape[-1])
  weights = np.asarray(metrics.class_weights(rows.reshape(shape)))
  if hosts.is_first():
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
      np.save(file, weights)
  return weights
