"""What is compared: the method, the method less or otherwise than it is, and methods of others
under its terms.
"""

import jax
import jax.numpy as jnp
import optax

from configs import methods
from salmu_jax import losses, transforms
from salmu_jax.methods.base import Method, Surrogates

_TEXT = "^text/"


def _like(
  forget_loss=None,
  *,
  anchors=4.0,
  retain=2.0,
  patterns=_TEXT,
  after=(),
  source="both",
):
  """`anchored.make` with one part exchanged."""
  forget_loss = forget_loss or losses.mismatched_target()

  def make(optimizer):
    loss, made_up = forget_loss, None
    if anchors:
      loss = losses.weighted((1.0, forget_loss), (anchors, losses.surrogate_retention))
      made_up = Surrogates(6, source, 0.0)
    tx = optax.chain(transforms.add_retain(retain), transforms.only(optimizer, patterns), *after)
    return Method(loss, losses.text_retention, tx, surrogates=made_up)

  return make


@losses.comparing
def _image_retention(z, reference):
  return jnp.mean(1 - jnp.sum(z.image * reference.image, axis=-1))


def _both_towers(optimizer):
  """Pictures may move too; those of retain and of forget are held where they were."""
  near = (4.0, losses.surrogate_retention)
  loss = losses.weighted((1.0, losses.mismatched_target()), near, (4.0, _image_retention))
  retain = losses.weighted((1.0, losses.text_retention), (1.0, _image_retention))
  tx = optax.chain(transforms.add_retain(2.0), optimizer)
  return Method(loss, retain, tx, surrogates=Surrogates(6, "both", 0.0))


def low_rank(rank):
  """Keeps what each matrix has moved by at a rank: its largest singular values. After the
  optimizer.
  """

  def init(params):
    return jax.tree.map(jnp.copy, params)

  def update(updates, start, params, **extra_args):
    del extra_args

    def cut(u, s, p):
      if u.ndim != 2:
        return u
      left, size, right = jnp.linalg.svd(p + u - s, full_matrices=False)
      return s + (left[:, :rank] * size[None, :rank]) @ right[:rank] - p

    text = jax.tree.map(cut, updates["text"], start["text"], params["text"])
    return {**updates, "text": text}, start

  return optax.GradientTransformationExtraArgs(init, update)


# Name -> (make, fields of the run that differ, whether surrogates go with their rows).
ABLATIONS = {
  "no anchors": (_like(anchors=0.0), {}, True),
  "anchors at a quarter": (_like(anchors=1.0), {}, True),
  "neither": (_like(anchors=0.0, retain=0.0), {}, True),
  "recombined surrogates": (_like(source="recombined"), {}, True),
  "generated surrogates": (_like(source="generated"), {}, True),
  "surrogates of other rows": (_like(), {}, False),
  "component removed": (_like(losses.component_removed), {}, True),
  "bounded ascent": (_like(losses.bounded_ascent()), {}, True),
  "both towers": (_both_towers, {}, True),
  "token embeddings alone": (_like(patterns="^text/token_embedding"), {}, True),
  "rank 8": (_like(after=(low_rank(8),)), {}, True),
  "AdamW": (_like(), {"optimizer": {"name": "adamw"}}, True),
  "batches of 64": (_like(), {"batch_size": 64}, True),
}
# Of all captions, in the variant that is to forget however a fact is said.
REWORDED = 0.5
# Baselines with this method's batches and optimizer, at their own tuned rates.
CONTROLS = ("bounded_ascent", "cliperase_zero")


def settings(name="anchored", budget=5.0, changes=None):
  """A run as configs/methods/NAME.py has it for mini, with changes."""
  run = methods.runs(name, "mini")[name]
  run.budget = budget
  run.update(changes or {})
  return run
