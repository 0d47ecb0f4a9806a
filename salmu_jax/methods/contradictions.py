"""Which losses and transformations make no sense together, and why."""

from salmu_jax.errors import InputError

# What becomes of the retain gradient, each decides alone.
_MIX = ("munba", "alternate", "add_retain")
_READ_RETAIN = (*_MIX, "project_conflicts", "dampen", "add_noise_by_importance")
_MEASURED_ON_RETAIN = ("divide_by_importance", "project_out", "select_layers")
_MEASURED_ON_FORGET = ("keep_salient", "select_layers", "hold_unimportant")
_NEED_FORGET = ("project_conflicts", "munba", "alternate", *_MEASURED_ON_FORGET, "dampen")
_AT_THE_START = (*_MEASURED_ON_RETAIN, "dampen", "add_noise_by_importance")
_EDITS = ("dampen", "add_noise_by_importance")
_LIMITS = ("train_only",)  # go with everything


def reads(loss, names):
  """Which halves the outcome of a loss and a chain depends on."""
  forget = loss != "none" and "add_noise_by_importance" not in names
  retain = any(name in (*_READ_RETAIN, *_MEASURED_ON_RETAIN) for name in names)
  return (*(["forget"] if forget else []), *(["retain"] if retain else []))


def refuse(loss, retain_loss, names):
  """Raises InputError where a part could do nothing, works on nothing, or undoes another.

  Args:
    loss, retain_loss: keys of FORGET_LOSSES and RETAIN_LOSSES in `compose`. names: keys of its
      CHAIN.
  """
  for check in (_repeated, _mixers, _edits, _no_loss, _learning):
    check(loss, names)
  if retain_loss != "contrastive":
    _flat_start(retain_loss, "retain_loss", names, _AT_THE_START)
    if "retain" not in reads(loss, names):
      raise InputError(
        f"retain_loss = {retain_loss!r} is read by nothing in the chain. Add add_retain, or leave "
        "it out."
      )
  if loss == "leave_reference":
    _flat_start(loss, "loss", names, (*_MEASURED_ON_FORGET, "dampen"))
    if not any(name in _MIX for name in names):
      raise InputError(
        "loss = 'leave_reference' has no gradient at the start, so it needs one of "
        f"{', '.join(_MIX)} in the chain to get away from there."
      )


def _repeated(loss, names):
  del loss
  for name in names:
    if names.count(name) > 1:
      raise InputError(f"chain: {name} is there {names.count(name)} times; once is enough.")


def _mixers(loss, names):
  del loss
  mixers = [name for name in names if name in _MIX]
  if len(mixers) > 1:
    raise InputError(
      f"chain: {' and '.join(mixers)} contradict each other: each decides what share the retain "
      "gradient has in the update. Keep one."
    )
  if "munba" in names and {"scale", "clip"} & set(names):
    raise InputError(
      "chain: munba brings both gradients to length one, so scale or clip beside it does nothing. "
      "Leave it out."
    )


def _edits(loss, names):
  del loss
  edits = [name for name in names if name in _EDITS]
  idle = [name for name in names if name not in (*edits[:1], *_LIMITS)]
  if edits and idle:
    raise InputError(
      f"chain: {edits[0]} edits the weights once and trains nothing, so {', '.join(idle)} beside "
      "it would do nothing. Of the others only train_only goes with it."
    )


def _no_loss(loss, names):
  if loss != "none":
    return
  idle = [name for name in names if name in _NEED_FORGET]
  if idle:
    raise InputError(
      f"loss = 'none' has no forget gradient, and {idle[0]} works on one. Name a loss, or leave "
      f"{idle[0]} out."
    )
  if not {"add_retain", "add_noise_by_importance"} & set(names):
    raise InputError(
      "loss = 'none' without 'add_retain' in the chain leaves nothing to learn from. Add it, or "
      "name a loss."
    )


def _learning(loss, names):
  if "reflect" in names and loss != "learn":
    raise InputError(
      f"chain: reflect goes back from what was learnt, so after loss = {loss!r} it would undo the "
      "forgetting. It goes with loss = 'learn'."
    )
  if loss != "learn":
    return
  if not {"reflect", *_EDITS} & set(names):
    raise InputError(
      "loss = 'learn' teaches the forget pairs; alone it is the opposite of unlearning. It goes "
      "with reflect or dampen in the chain."
    )
  mixers = [name for name in names if name in _MIX]
  if mixers:
    raise InputError(
      f"chain: with {mixers[0]} beside reflect, retain would be learnt too, and unlearnt with the "
      f"rest. Leave {mixers[0]} out."
    )
  if "reflect" in names:
    later = [name for name in names[names.index("reflect") + 1 :] if name not in _LIMITS]
    if later:
      raise InputError(
        f"chain: reflect goes back past the start in one step, which {later[0]} after it would "
        f"cut. Put {later[0]} before it."
      )


def _flat_start(name, field, names, measured):
  """Refuses what measures gradients at the start, where this loss has none."""
  found = [each for each in names if each in measured]
  if found:
    raise InputError(
      f"{field} = {name!r} compares with the start, where its gradient is zero, and {found[0]} "
      f"measures gradients there. Take another loss, or leave {found[0]} out."
    )
