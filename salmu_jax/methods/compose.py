"""Composes a method in a config: any forget loss with any chain of transformations."""

import inspect
from collections.abc import Sequence

import optax

from salmu_jax.errors import InputError, unknown
from salmu_jax.methods import contradictions, naming, robust
from salmu_jax.methods.base import Method
from salmu_jax.methods.naming import Part
from salmu_jax.methods.parts import (
  AFTER,
  BEFORE,
  CHAIN,
  FORGET_LOSSES,
  INSTEAD,
  RETAIN_LOSSES,
  USUAL_RETAIN_LOSS,
)


def make(
  optimizer: optax.GradientTransformation,
  *,
  steps: int,
  seed: int,
  loss: Part,
  retain_loss: str = USUAL_RETAIN_LOSS,
  chain: Sequence[Part] = (),
) -> Method:
  """Makes a method from a loss and a chain.

  Args:
    optimizer: stands between transformations that mix gradients and those that limit the update.
    steps, seed: of the run, for the transformations that take them.
    loss: a key of `parts.FORGET_LOSSES`, or a pair of a key and a dict of arguments, such as
      ("npo", {"beta": 0.5}).
    retain_loss: a key of `parts.RETAIN_LOSSES`.
    chain: keys of `parts.CHAIN`, or such pairs: ("keep_salient", {"fraction": 0.3}).

  Raises:
    InputError: an unknown name or argument, or parts that contradict each other, with the reason.
  """
  loss_name, loss_args = naming.named("loss", loss)
  links = [naming.named("chain", part) for part in _listed(chain)]
  names = [name for name, _ in links]
  forgetting = _entry(FORGET_LOSSES, "loss", loss_name).make
  forget_loss = naming.called("loss", loss_name, forgetting or (lambda: None), loss_args, {})
  kept = _entry(RETAIN_LOSSES, "retain_loss", retain_loss).make()
  of_the_run = {"steps": steps, "seed": seed}
  built = {name: _made(name, args, of_the_run) for name, args in links}
  contradictions.refuse(loss_name, retain_loss, names)
  halves = contradictions.reads(loss_name, names)
  standing = lambda place: [built[name][0] for name in names if CHAIN[name].stands == place]
  silence = [] if forgetting else [optax.set_to_zero()]
  trained = standing(INSTEAD) or [optimizer]
  return Method(
    forget_loss if "forget" in halves else None,
    kept if "retain" in halves else None,
    optax.chain(*silence, *standing(BEFORE), *trained, *standing(AFTER)),
    tuple(built[name][1] for name in names if built[name][1]),
    image_tower=not any(name == "train_only" and _text_alone(args) for name, args in links),
  )


def label(loss: Part, chain: Sequence[Part], way: robust.Way = ()) -> str:
  """The name of a composed run: "composed", then the names of its parts.

  Args:
    loss, chain: see `make`. way: see `robust.made`; empty for none.

  Raises:
    InputError: a part is neither a name nor a pair.
  """
  parts = [naming.named("loss", loss), *(naming.named("chain", part) for part in _listed(chain))]
  names = [*(name for name, _ in parts), *([robust.name_of(way)] if way else [])]
  return "-".join(["composed", *names])


def _text_alone(args):
  """Whether the arguments of `transforms.train_only` can only name parameters of the text tower."""
  patterns = args["patterns"]
  listed = [patterns] if isinstance(patterns, str) else patterns
  return all(pattern.startswith("^text/") and "|" not in pattern for pattern in listed)


def _listed(chain):
  if not isinstance(chain, tuple | list):
    raise InputError(f"chain = {chain!r}; it must be a tuple of names, such as ('add_retain',).")
  return chain


def _entry(table, where, name):
  if not isinstance(name, str) or name not in table:
    raise InputError(unknown(where, name, list(table)))
  return table[name]


def _made(name, args, of_the_run):
  """(transformation, its `prepare` or None); each argument goes to the makers that take it."""
  entry = _entry(CHAIN, "chain", name)
  makers = [maker for maker in (entry.make, entry.prepare) if maker]
  taken = [set(inspect.signature(maker).parameters) for maker in makers]
  for arg in args:
    if not any(arg in names for names in taken):
      right = sorted(set.union(*taken) - {*of_the_run})
      raise InputError(unknown(f"chain: {name}", arg, right))
  functions = [
    naming.called("chain", name, maker, {k: v for k, v in args.items() if k in names}, of_the_run)
    for maker, names in zip(makers, taken, strict=True)
  ]
  return functions[0], functions[1] if len(functions) > 1 else None
