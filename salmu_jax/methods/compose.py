"""Any forget loss with any chain of transformations, named in a config instead of a file."""

import inspect

import optax

from salmu_jax import losses, transforms
from salmu_jax.errors import InputError
from salmu_jax.methods import ranges
from salmu_jax.methods.base import Method, together
from salmu_jax.names import unknown

# Name -> what makes the loss of the forget half; descending on each forgets. "none" is no loss.
FORGET_LOSSES = {
  "ascent": lambda: losses.ascent,
  "anchored_ascent": losses.anchored_ascent,
  "bounded_ascent": losses.bounded_ascent,
  "decoupling": lambda: losses.decoupling,
  "delete": lambda: losses.excluded_pair,
  "direct_similarity": lambda: losses.pair_similarity,
  "generic_captions": lambda: losses.contrastive_generic,
  "leave_reference": lambda: losses.weighted((-1.0, losses.divergence)),
  "learn": lambda: losses.contrastive,
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
}
# Name -> (what makes the transformation, what makes its `prepare` or None). Those of BEFORE stand
# before the optimizer in a chain and those of AFTER behind it; in each part the config's order holds.
BEFORE = {
  "scale": (optax.scale, None),
  "clip": (optax.clip_by_global_norm, None),
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
# Use the optimizer's place for an edit of their own.
EDITS = {
  "dampen": (transforms.dampen, None),
  "add_noise_by_importance": (transforms.add_noise_by_importance, None),
}
CHAIN = {**BEFORE, **AFTER, **EDITS}
_READ_RETAIN = {
  "project_conflicts", "munba", "alternate", "add_retain", "divide_by_importance", "project_out",
  "select_layers", "dampen", "add_noise_by_importance",
}  # fmt: skip
_MIX = (
  "munba",
  "alternate",
  "add_retain",
)  # each decides alone what becomes of the retain gradient
_NEED_FORGET = ("project_conflicts", "munba", "alternate", "keep_salient", "select_layers", "dampen",
                "hold_unimportant")  # fmt: skip


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
  forget_name, forget_args = _part("loss", loss)
  parts = [_part("chain", each) for each in _listed(chain)]
  names = [name for name, _ in parts]
  _refuse_contradictions(forget_name, names)
  given = {"steps": steps, "seed": seed}
  made = {name: _made(CHAIN, "chain", name, args, given) for name, args in parts}
  txs = lambda table: [made[name][0] for name in names if name in table]
  prepares = [made[name][1] for name in names if made[name][1]]
  silence = [optax.set_to_zero()] if forget_name == "none" else []
  middle = txs(EDITS) or [optimizer]
  return Method(
    _called("loss", forget_name, _entry(FORGET_LOSSES, "loss", forget_name), forget_args, {}),
    _entry(RETAIN_LOSSES, "retain_loss", retain_loss)(),
    optax.chain(*silence, *txs(BEFORE), *middle, *txs(AFTER)),
    _reads(forget_name, names),
    together(*prepares),
  )


def _reads(loss, names):
  forget = [] if loss == "none" else ["forget"]
  if "add_noise_by_importance" in names:
    forget = []  # overwrites whatever the loss said
  return (*forget, *(["retain"] if _READ_RETAIN & set(names) else []))


def _listed(chain):
  if isinstance(chain, str) or not hasattr(chain, "__iter__"):
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
  if name not in table:
    raise InputError(unknown(where, name, list(table)))
  return table[name]


def _made(table, where, name, args, given):
  """(transformation, its `prepare` or None); arguments go to whichever takes them."""
  makers = [maker for maker in _entry(table, where, name) if maker]
  takes = [set(inspect.signature(maker).parameters) for maker in makers]
  for arg in args:
    if not any(arg in each for each in takes):
      raise InputError(unknown(f"{where}: {name}", arg, sorted(set.union(*takes) - {*given})))
  out = [
    _called(where, name, maker, {k: v for k, v in args.items() if k in each}, given)
    for maker, each in zip(makers, takes, strict=True)
  ]
  return out[0], out[1] if len(out) > 1 else None


def _called(where, name, maker, args, given):
  ranges.check(args)
  wanted = inspect.signature(maker).parameters
  known = [k for k in wanted if k not in given]
  for arg in args:
    if arg not in known:
      raise InputError(unknown(f"{where}: {name}", arg, known))
  of_the_run = {k: v for k, v in given.items() if k in wanted}
  lacking = [
    k for k, p in wanted.items() if p.default is p.empty and k not in args and k not in of_the_run
  ]
  if lacking:
    example = {k: ... for k in lacking}
    raise InputError(f"{where}: {name} needs {', '.join(lacking)}; write ({name!r}, {example}).")
  return maker(**args, **of_the_run)


def _refuse_contradictions(loss, names):
  """Raises InputError for a chain in which a part could do nothing, or undoes another."""
  mixers = [name for name in names if name in _MIX]
  edits = [name for name in names if name in EDITS]
  _refuse_within_chain(names, mixers, edits)
  if loss == "none":
    idle = [name for name in names if name in _NEED_FORGET]
    if idle:
      raise InputError(
        f"loss = 'none' has no forget gradient, and {idle[0]} works on one. Name a loss, or leave "
        f"{idle[0]} out."
      )
    if not mixers and not edits:
      raise InputError(
        "loss = 'none' without 'add_retain' in the chain leaves nothing to learn from. Add it, or "
        "name a loss."
      )
  if "reflect" in names and loss != "learn":
    raise InputError(
      f"chain: reflect goes back from what was learnt, so after loss = {loss!r} it would undo the "
      "forgetting. It goes with loss = 'learn'."
    )
  if loss == "learn" and not edits and "reflect" not in names:
    raise InputError(
      "loss = 'learn' teaches the forget pairs; alone it is the opposite of unlearning. It goes with "
      "reflect or dampen in the chain."
    )


def _refuse_within_chain(names, mixers, edits):
  """The same for the chain alone."""
  for name in names:
    if names.count(name) > 1:
      raise InputError(f"chain: {name} is there {names.count(name)} times; once is enough.")
  if len(mixers) > 1:
    raise InputError(
      f"chain: {' and '.join(mixers)} contradict each other: each decides what share the retain "
      "gradient has in the update. Keep one."
    )
  idle = [name for name in names if name not in (*edits[:1], "train_only")]
  if edits and idle:
    raise InputError(
      f"chain: {edits[0]} edits the weights once and trains nothing, so {', '.join(idle)} beside it "
      "would do nothing. Of the others only train_only goes with it."
    )
