"""Any forget loss with any chain of transformations, named in a config instead of a file."""

import inspect

import optax

from salmu_jax import losses, ranges, transforms
from salmu_jax.errors import InputError, unknown
from salmu_jax.methods import contradictions
from salmu_jax.methods.base import Method
from salmu_jax.ranges import Positive

# Name -> what makes the loss of the forget half; descending on each forgets. "none" is no loss.
FORGET_LOSSES = {
  "ascent": lambda: losses.ascent,
  "anchored_ascent": losses.anchored_ascent,
  "bounded_ascent": losses.bounded_ascent,
  "component_removed": lambda: losses.component_removed,
  "decoupling": lambda: losses.decoupling,
  "delete": lambda: losses.excluded_pair,
  "direct_similarity": lambda: losses.pair_similarity,
  "generic_captions": lambda: losses.contrastive_generic,
  "learn": lambda: losses.contrastive,
  "leave_reference": lambda: losses.weighted((-1.0, losses.divergence)),
  "mismatched_target": losses.mismatched_target,
  "none": lambda: losses.contrastive,
  "npo": losses.npo,
  "shuffled_captions": lambda: losses.contrastive_shuffled,
  "zero_similarity": lambda: losses.zero_similarity,
}
RETAIN_LOSSES = {
  "contrastive": lambda: losses.contrastive,
  "divergence": lambda: losses.divergence,
  "embedding_retention": lambda: losses.embedding_retention,
  "retention": lambda: losses.retention,
  "similarity_retention": lambda: losses.similarity_retention,
  "text_retention": lambda: losses.text_retention,
}


def _scale(step_size: Positive):
  return optax.scale(step_size)


def _clip(max_norm: Positive):
  return optax.clip_by_global_norm(max_norm)


# Name -> (what makes the transformation, what makes its `prepare` or None). Those of BEFORE stand
# before the optimizer in a chain and those of AFTER behind it; in each part the config's order
# holds.
BEFORE = {
  "scale": (_scale, None),
  "clip": (_clip, None),
  "project_conflicts": (transforms.project_conflicts, None),
  "munba": (transforms.munba, None),
  "alternate": (transforms.alternate, None),
  "add_retain": (transforms.add_retain, None),
  "hold_unimportant": (transforms.hold_unimportant, transforms.measure_freedom),
}
AFTER = {
  "divide_by_importance": (transforms.divide_by_importance, transforms.measure_importance),
  "project_out": (transforms.project_out, transforms.find_basis),
  "keep_salient": (transforms.keep_salient, transforms.find_salient),
  "select_layers": (transforms.select_layers, transforms.find_layers),
  "train_only": (transforms.train_only, None),
  "trust_region": (transforms.trust_region, None),
  "reflect": (transforms.reflect, None),
  "add_noise": (transforms.add_noise, None),
}
# These edit the weights in the optimizer's place.
EDITS = {
  "dampen": (transforms.dampen, None),
  "add_noise_by_importance": (transforms.add_noise_by_importance, None),
}
CHAIN = {**BEFORE, **AFTER, **EDITS}


def make(optimizer, *, steps, seed, loss, retain_loss="contrastive", chain=()):
  """The method of a loss and a chain.

  Args:
    optimizer: put between the transformations that mix gradients and those that limit the update.
    steps, seed: of the run, for the transformations that ask for them.
    loss: a key of FORGET_LOSSES, or a pair of it and a dict of arguments, ("npo", {"beta": 0.5}).
    retain_loss: a key of RETAIN_LOSSES.
    chain: keys of CHAIN, or such pairs, as ("keep_salient", {"fraction": 0.3}).

  Raises:
    InputError: an unknown name or argument, or parts that contradict each other, with the reason.
  """
  loss_name, loss_args = _part("loss", loss)
  parts = [_part("chain", each) for each in _listed(chain)]
  names = [name for name, _ in parts]
  forget_loss = _called("loss", loss_name, _entry(FORGET_LOSSES, "loss", loss_name), loss_args, {})
  kept = _entry(RETAIN_LOSSES, "retain_loss", retain_loss)()
  of_the_run = {"steps": steps, "seed": seed}
  made = {name: _made(name, args, of_the_run) for name, args in parts}
  contradictions.refuse(loss_name, retain_loss, names)
  txs = lambda table: [made[name][0] for name in names if name in table]
  silence = [optax.set_to_zero()] if loss_name == "none" else []
  read = contradictions.reads(loss_name, names)
  return Method(
    forget_loss if "forget" in read else None,
    kept if "retain" in read else None,
    optax.chain(*silence, *txs(BEFORE), *(txs(EDITS) or [optimizer]), *txs(AFTER)),
    tuple(made[name][1] for name in names if made[name][1]),
  )


def label(loss, chain):
  """The name of a composed run: its parts, so that no two named methods are called alike.

  Raises:
    InputError: a part is neither a name nor a pair.
  """
  parts = [_part("loss", loss), *(_part("chain", each) for each in _listed(chain))]
  return "-".join(["composed", *(name for name, _ in parts)])


def _listed(chain):
  if not isinstance(chain, tuple | list):
    raise InputError(f"chain = {chain!r}; it must be a tuple of names, such as ('add_retain',).")
  return chain


def _part(where, given):
  """(name, arguments) of a name or of a pair."""
  if isinstance(given, str):
    return given, {}
  pair = list(given) if isinstance(given, tuple | list) else []
  if len(pair) == 2 and isinstance(pair[0], str) and hasattr(pair[1], "items"):
    return pair[0], dict(pair[1].items())
  raise InputError(
    f"{where}: {given!r} is neither a name nor a pair of a name and its arguments, such as "
    "('keep_salient', {'fraction': 0.3})."
  )


def _entry(table, where, name):
  if not isinstance(name, str) or name not in table:
    raise InputError(unknown(where, name, list(table)))
  return table[name]


def _made(name, args, of_the_run):
  """(transformation, its `prepare` or None); arguments go to whichever takes them."""
  makers = [maker for maker in _entry(CHAIN, "chain", name) if maker]
  takes = [set(inspect.signature(maker).parameters) for maker in makers]
  for arg in args:
    if not any(arg in each for each in takes):
      known = sorted(set.union(*takes) - {*of_the_run})
      raise InputError(unknown(f"chain: {name}", arg, known))
  out = [
    _called("chain", name, maker, {k: v for k, v in args.items() if k in each}, of_the_run)
    for maker, each in zip(makers, takes, strict=True)
  ]
  return out[0], out[1] if len(out) > 1 else None


def _called(where, name, maker, args, of_the_run):
  wanted = inspect.signature(maker).parameters
  for arg in args:
    if arg not in wanted or arg in of_the_run:
      known = [k for k in wanted if k not in of_the_run]
      raise InputError(unknown(f"{where}: {name}", arg, known))
  try:
    ranges.check(maker, args)
  except InputError as error:
    raise InputError(f"{where}: {name}: {error}") from error
  given = {k: v for k, v in of_the_run.items() if k in wanted}
  lacking = [
    k for k, p in wanted.items() if p.default is p.empty and k not in args and k not in given
  ]
  if lacking:
    example = {k: ... for k in lacking}
    raise InputError(f"{where}: {name} needs {', '.join(lacking)}; write ({name!r}, {example}).")
  return maker(**args, **given)
