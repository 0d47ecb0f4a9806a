"""General knowledge as zero-shot classification: the class weights of a model."""

import pathlib

import numpy as np

from salmu_jax.evaluate import metrics
from salmu_jax.runtime import files, hosts


def prompts(zero_shot):
  """All prompts of all classes, class by class."""
  return [prompt.format(name) for name in zero_shot.classes for prompt in zero_shot.prompts]


def class_weights(zero_shot, embed, folder, key):
  """The (C, D) directions of the classes, from a cache or embedded now.

  Args:
    zero_shot: ZeroShotSet.
    embed: list of texts -> (N, D) unit rows.
    folder: of the cache.
    key: JSON value that names weights, tokenizer and precision of the model.
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
