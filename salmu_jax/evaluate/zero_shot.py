"""General knowledge as zero-shot classification: the pictures, and the class weights of a model."""

import pathlib

import numpy as np

from salmu_jax.data import releases
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.imagenet import ZeroShotSet
from salmu_jax.runtime import files, hosts


def of_release(release, records):
  """The zero-shot split of a release as a ZeroShotSet, or None where it has none.

  Raises:
    InputError: a row is of no class.
  """
  if release.zero_shot is None:
    return None
  classes, prompts = release.zero_shot["classes"], release.zero_shot["prompts"]
  number = {name: i for i, name in enumerate(classes)}
  names = releases.columns(release, "zero_shot")["text"]
  unknown = sorted(set(names) - set(classes))
  if unknown:
    raise InputError(
      f"The split 'zero_shot' of {release.path} has the text {unknown[0]!r}, which is none of the "
      f"classes of {releases.ZERO_SHOT}. Restore the release from its source."
    )
  return ZeroShotSet(
    name=f"generated zero-shot set: {len(classes)} classes x {len(names) // len(classes)} pictures",
    classes=tuple(classes),
    prompts=tuple(prompts),
    rows=records["zero_shot"],
    labels=np.array([number[name] for name in names], np.int32),
    content=release.digest,
  )


def texts(zero_shot):
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
  if hosts.agreed(path.exists()):
    return np.load(path, allow_pickle=False)
  rows = embed(texts(zero_shot))
  shape = (len(zero_shot.classes), len(zero_shot.prompts), rows.shape[-1])
  weights = np.asarray(metrics.class_weights(rows.reshape(shape)))
  if hosts.is_first():
    with files.replacing(path) as temporary, open(temporary, "wb") as file:
      np.save(file, weights)
  return weights
