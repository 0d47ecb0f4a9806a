"""Which losses and transformations make no sense together, and why.

The rules follow from the entries of `salmu_jax.methods.parts`.
"""

from collections.abc import Callable, Sequence

from salmu_jax.errors import InputError
from salmu_jax.methods.parts import (
  BOTH,
  CHAIN,
  FORGET_LOSSES,
  INSTEAD,
  RETAIN_LOSSES,
  USUAL_RETAIN_LOSS,
  ChainEntry,
)


def reads(loss: str, names: Sequence[str]) -> tuple[str, ...]:
  """Which halves the outcome of a loss and a chain depends on.

  Args:
    loss: a key of `parts.FORGET_LOSSES`. names: keys of `parts.CHAIN`.
  """
  edits = [CHAIN[name] for name in _those(_edits_weights, names)]
  halves = {half for name in names for half in CHAIN[name].halves}
  if FORGET_LOSSES[loss].make is None or any("forget" not in edit.halves for edit in edits):
    halves.discard("forget")
  else:
    halves.add("forget")
  return tuple(half for half in BOTH if half in halves)


def refuse(loss: str, retain_loss: str, names: Sequence[str]) -> None:
  """Raises InputError if a part has no effect, has nothing to work on, or undoes another.

  Args:
    loss, retain_loss: keys of `parts.FORGET_LOSSES` and `parts.RETAIN_LOSSES`. names: keys of
      `parts.CHAIN`.
  """
  for check in (_repeated, _mixers, _choosers, _averages, _edits, _no_loss, _going_back, _learning):
    check(loss, names)
  if RETAIN_LOSSES[retain_loss].flat_start:
    _flat_start("retain_loss", retain_loss, "retain", names)
  if retain_loss != USUAL_RETAIN_LOSS and "retain" not in reads(loss, names):
    raise InputError(
      f"retain_loss = {retain_loss!r}, but nothing in the chain reads it. Add add_retain, or leave "
      "it out."
    )
  _both_flat(loss, retain_loss, names)
  if FORGET_LOSSES[loss].flat_start:
    _flat_start("loss", loss, "forget", names)
    if not _those(_mixes, names):
      raise InputError(
        f"loss = {loss!r} has no gradient at the start, so the chain needs one of "
        f"{', '.join(_those(_mixes))} to leave the start."
      )


def _those(what: Callable[[ChainEntry], bool], names: Sequence[str] | None = None) -> list[str]:
  """The names whose entry satisfies `what`, of `names` or, if None, of all transformations."""
  return [name for name in (CHAIN if names is None else names) if what(CHAIN[name])]


def _mixes(entry):
  return entry.mixes


def _edits_weights(entry):
  return entry.stands == INSTEAD


def _harmless(entry):
  return entry.harmless


def _needs_forget(entry):
  return "forget" in entry.halves


def _learns_retain(entry):
  """Whether it moves the weights even without a forget gradient."""
  return (entry.mixes or entry.stands == INSTEAD) and not _needs_forget(entry)


def _repeated(loss, names):
  del loss
  for name in names:
    if names.count(name) > 1:
      raise InputError(f"chain: {name} occurs {names.count(name)} times; once is enough.")


def _mixers(loss, names):
  del loss
  mixers = _those(_mixes, names)
  if len(mixers) > 1:
    raise InputError(
      f"chain: {' and '.join(mixers)} contradict each other: each sets the share of the retain "
      "gradient in the update. Keep one."
    )
  rescales = lambda entry: entry.rescales
  normalising = _those(lambda entry: entry.normalises, names)
  if normalising and _those(rescales, names):
    raise InputError(
      f"chain: {normalising[0]} scales both gradients to length one, so "
      f"{' or '.join(_those(rescales))} has no effect with it. Leave it out."
    )


def _choosers(loss, names):
  del loss
  choosers = _those(lambda entry: entry.chooses, names)
  if len(choosers) > 1:
    raise InputError(
      f"chain: {' and '.join(choosers)} contradict each other: each chooses the layers to update, "
      "and they may have no layer in common. Keep one."
    )


def _averages(loss, names):
  del loss
  for name in _those(lambda entry: entry.averages, names):
    later = _those(lambda entry: entry.stretches, names[names.index(name) + 1 :])
    if later:
      raise InputError(
        f"chain: {name} moves the weights to an average in its last step, and {later[0]} after it "
        f"would rescale that step. Put {later[0]} before it."
      )


def _edits(loss, names):
  del loss
  edits = _those(_edits_weights, names)[:1]
  idle = [name for name in names if name not in (*edits, *_those(_harmless))]
  if edits and idle:
    raise InputError(
      f"chain: {edits[0]} edits the weights once and trains nothing, so {', '.join(idle)} would "
      f"have no effect. Only {', '.join(_those(_harmless))} can be combined with it."
    )


def _no_loss(loss, names):
  if FORGET_LOSSES[loss].make is not None:
    return
  idle = _those(_needs_forget, names)
  if idle:
    raise InputError(
      f"loss = {loss!r} gives no forget gradient, and {idle[0]} needs one. Name a loss, or leave "
      f"{idle[0]} out."
    )
  if not _those(_learns_retain, names):
    learning = _those(lambda entry: _learns_retain(entry) and entry.mixes)
    raise InputError(
      f"loss = {loss!r} without {' or '.join(map(repr, learning))} in the chain leaves nothing to "
      "train on. Add one, or name a loss."
    )


def _going_back(loss, names):
  back = _those(lambda entry: entry.goes_back, names)
  if back and not FORGET_LOSSES[loss].teaches:
    teaching = [name for name, entry in FORGET_LOSSES.items() if entry.teaches]
    raise InputError(
      f"chain: {back[0]} reverses what was learnt, so with loss = {loss!r} it would undo the "
      f"forgetting. Use it with loss = {' or '.join(map(repr, teaching))}."
    )


def _learning(loss, names):
  if not FORGET_LOSSES[loss].teaches:
    return
  back = _those(lambda entry: entry.goes_back, names)
  if not back and not _those(_edits_weights, names):
    forgetting = lambda entry: entry.goes_back or (_edits_weights(entry) and _needs_forget(entry))
    raise InputError(
      f"loss = {loss!r} teaches the forget pairs; alone it is the opposite of unlearning. Use it "
      f"with {' or '.join(_those(forgetting))} in the chain."
    )
  for name in back:
    mixers = _those(_mixes, names)
    if mixers:
      raise InputError(
        f"chain: {mixers[0]} and {name} together would unlearn retain with forget. Leave "
        f"{mixers[0]} out."
      )
    later = [after for after in names[names.index(name) + 1 :] if after not in _those(_harmless)]
    if later:
      raise InputError(
        f"chain: {name} goes back past the start in one step, and {later[0]} after it would cut "
        f"that step. Put {later[0]} before it."
      )


def _both_flat(loss, retain_loss, names):
  """Refuses two losses without a gradient at the start: the run would follow rounding errors."""
  forget = FORGET_LOSSES[loss]
  moves = forget.make is not None and not forget.flat_start
  if moves or not RETAIN_LOSSES[retain_loss].flat_start or _those(_edits_weights, names):
    return
  others = [name for name, entry in RETAIN_LOSSES.items() if not entry.flat_start]
  raise InputError(
    f"loss = {loss!r} and retain_loss = {retain_loss!r} have no gradient at the start, so the "
    f"model would not move. Take another loss, or retain_loss = {' or '.join(map(repr, others))}."
  )


def _flat_start(field, name, half, names):
  """Refuses transformations that measure gradients at the start, where this loss has none."""
  measuring = _those(lambda entry: half in entry.measures, names)
  if measuring:
    raise InputError(
      f"{field} = {name!r} compares with the start, where its gradient is zero, and {measuring[0]} "
      f"measures gradients there. Take another loss, or leave {measuring[0]} out."
    )
