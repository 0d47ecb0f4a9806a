"""Unlearning methods by name: each is `make(optimizer, **args) -> Method` in a file of its own.

The docstring of `make` gives what the method does, the formula that it descends on, what it reads
and moves, its source, and its arguments. The run sets `optimizer`, `steps` and `seed`; a config
sets the others, and for any method also `robust` (`salmu_jax.methods.robust`).

Notation is that of `salmu_jax.losses`: u and v are the embeddings of images and captions, S their
cosines, p the in-batch matching probabilities; index 0 marks the starting model. L_CLIP is CLIP's
contrastive loss, theta are the parameters, f and r the gradients of the forget and the retain loss.
N(0, 1) is standard normal noise, drawn for each weight.
"""

import importlib
from collections.abc import Callable

from salmu_jax import fields
from salmu_jax.errors import InputError
from salmu_jax.methods import (
  alignment_calibration,
  anchored,
  bounded_ascent,
  cliperase,
  cliperase_zero,
  compose,
  delete,
  delete_zero,
  descent_to_delete,
  direct_similarity,
  distance_reward,
  finetune,
  fisher_noise,
  fisher_noise_quarter,
  generic_captions,
  grad_diff,
  gradient_surgery,
  l2ul,
  munba,
  negative_gradient,
  negmerge,
  npo,
  null_space,
  razor,
  rewind_to_delete,
  salun,
  scrub,
  shuffled_captions,
  slug,
  space_adaptation,
  ssd,
  subgroup,
  task_vector,
  vl_eraser,
  vlunlearn,
  weight_distortion,
)
from salmu_jax.methods.base import Method

METHODS = {
  "alignment_calibration": alignment_calibration.make,
  "anchored": anchored.make,
  "bounded_ascent": bounded_ascent.make,
  "cliperase": cliperase.make,
  "cliperase_zero": cliperase_zero.make,
  "delete": delete.make,
  "delete_zero": delete_zero.make,
  "descent_to_delete": descent_to_delete.make,
  "direct_similarity": direct_similarity.make,
  "distance_reward": distance_reward.make,
  "finetune": finetune.make,
  "fisher_noise": fisher_noise.make,
  "fisher_noise_quarter": fisher_noise_quarter.make,
  "generic_captions": generic_captions.make,
  "grad_diff": grad_diff.make,
  "gradient_surgery": gradient_surgery.make,
  "l2ul": l2ul.make,
  "munba": munba.make,
  "negative_gradient": negative_gradient.make,
  "negmerge": negmerge.make,
  "npo": npo.make,
  "null_space": null_space.make,
  "razor": razor.make,
  "rewind_to_delete": rewind_to_delete.make,
  "salun": salun.make,
  "scrub": scrub.make,
  "shuffled_captions": shuffled_captions.make,
  "slug": slug.make,
  "space_adaptation": space_adaptation.make,
  "ssd": ssd.make,
  "subgroup": subgroup.make,
  "task_vector": task_vector.make,
  "vl_eraser": vl_eraser.make,
  "vlunlearn": vlunlearn.make,
  "weight_distortion": weight_distortion.make,
}
# What `method` of a run may name; `maker` also takes MODULE:FUNCTION.
MAKERS = {**METHODS, "compose": compose.make}


def maker(name: str, where: str = "method") -> Callable[..., Method]:
  """The `make` of a method.

  Args:
    name: a key of MAKERS, or MODULE:FUNCTION of a module that Python can import.
    where: the field that an error names.

  Raises:
    InputError: no method has this name, or it cannot be imported.
  """
  module, colon, function = name.partition(":")
  if not colon:
    fields.check_name(where, name, MAKERS)
    return MAKERS[name]
  try:
    made = getattr(importlib.import_module(module), function)
  except (ImportError, AttributeError, ValueError) as error:
    raise InputError(
      f"{where} = {name!r} cannot be imported ({error}). It has to be MODULE:FUNCTION of a module "
      f"in the working directory or on PYTHONPATH, or one of {', '.join(MAKERS)}."
    ) from error
  return made
