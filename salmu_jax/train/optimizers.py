"""Optimizers by name, with warm-up and cosine decay of their learning rate."""

import jax
import optax
from ml_collections import ConfigDict

# Leaves that AdamW decays: matrices, not gains, biases, the class token or the logit scale.
DECAYED = {"kernel", "embedding", "positional_embedding", "proj", "text_projection"}
# Leaves that Muon orthogonalises where they have two axes: what maps features to features.
MATRICES = {"kernel", "proj", "text_projection"}


def settings(
  learning_rate,
  *,
  name="adamw",
  warmup=0.1,
  end=0.0,
  weight_decay=0.0,
  b1=0.9,
  b2=0.98,
  eps=1e-6,
):
  """The settings of an optimizer with linear warm-up and cosine decay.

  name is a key of OPTIMIZERS: "adamw"; "muon", for matrices, which
  leaves the other arrays to NAdam, decays matrices alone and does not read eps; or "sgd", whose
  momentum is b1 and which does not read b2 and eps. learning_rate is the peak; warmup the share of
  the steps that lead up to it; end the share of the peak that is left at the last step.
  """
  return ConfigDict(
    dict(
      name=name,
      learning_rate=learning_rate,
      warmup=warmup,
      end=end,
      weight_decay=weight_decay,
      b1=b1,
      b2=b2,
      eps=eps,
    )
  )


def make_optimizer(settings, total_steps):
  """The optimizer of a run, with linear warm-up and cosine decay of its learning rate.

  Args:
    settings: `name`, a key of OPTIMIZERS; `learning_rate` (peak), `warmup` and `end` (the share of
      the steps spent on warm-up, the share of the peak left at the end), `weight_decay`, `b1`,
      `b2`, `eps`.
    total_steps: of the run.
  """
  return OPTIMIZERS[settings.name](settings, make_schedule(settings, total_steps))


def make_schedule(settings, total_steps):
  """Learning rate by number of steps taken, see `make_optimizer`."""
  return optax.warmup_cosine_decay_schedule(
    init_value=0.0,
    peak_value=settings.learning_rate,
    warmup_steps=min(round(settings.warmup * total_steps), total_steps - 1),
    decay_steps=total_steps,
    end_value=settings.end * settings.learning_rate,
  )


def _adamw(settings, rate):
  return optax.adamw(
    rate,
    b1=settings.b1,
    b2=settings.b2,
    eps=settings.eps,
    weight_decay=settings.weight_decay,
    mask=_decayed,
  )


def _sgd(settings, rate):
  """As in PyTorch: the decay is part of the gradient that the momentum `b1` sums up."""
  decay = optax.add_decayed_weights(settings.weight_decay, mask=_decayed)
  return optax.chain(decay, optax.sgd(rate, momentum=settings.b1))


def _muon(settings, rate):
  """Muon (Jordan 2024) for the matrices inside the towers, NAdam for the rest, as
  `optax.contrib.muon` has it.

  Scaled as by Liu et al. (arXiv 2502.16982), so that a learning rate means for the matrices what it
  does for Adam.
  """
  return optax.contrib.muon(
    rate,
    weight_decay=settings.weight_decay,
    adam_b1=settings.b1,
    adam_b2=settings.b2,
    muon_weight_dimension_numbers=_matrices,
    consistent_rms=0.2,
  )


def _matrices(params):
  """Which axes of each matrix Muon works on, a leading one of scanned layers aside; None for
  other arrays.
  """
  axes = optax.contrib.MuonDimensionNumbers(-2, -1)
  is_matrix = lambda path, x: path[-1].key in MATRICES and x.ndim in (2, 3)
  return jax.tree_util.tree_map_with_path(
    lambda path, x: axes if is_matrix(path, x) else None, params
  )


# Name -> optimizer(settings, learning rate by step).
OPTIMIZERS = {"adamw": _adamw, "muon": _muon, "sgd": _sgd}


def _decayed(params):
  return jax.tree_util.tree_map_with_path(lambda path, _: path[-1].key in DECAYED, params)
