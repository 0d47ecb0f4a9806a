"""What a part of a composed method says of itself is true, and contradictions follow from it."""

import inspect

import jax
import numpy as np
import optax
import pytest
from composed import EDITS, NEEDED, SMALL, draw, make
from little import STAND_IN
from methodruns import BATCHES, PARAMS

from salmu_jax import losses, train, transforms
from salmu_jax.errors import InputError
from salmu_jax.methods import parts
from salmu_jax.methods.parts import AFTER, BEFORE, INSTEAD, ChainEntry, LossEntry

MEASURING = [name for name, entry in parts.CHAIN.items() if entry.prepare]


def refused(message, loss, *chain, **others):
  with pytest.raises(InputError, match=message):
    make(loss, *chain, **others)


@pytest.mark.parametrize("name", MEASURING)
def test_an_entry_that_is_prepared_measures_the_halves_that_it_says(name):
  entry = parts.CHAIN[name]
  of_the_run = {"steps": 4} if "steps" in inspect.signature(entry.make).parameters else {}
  state = entry.make(**NEEDED.get(name, {}), **of_the_run).init(SMALL)
  gradients = {half: draw(1) for half in entry.measures}
  entry.prepare()(state, lambda: iter([gradients]))
  for half in entry.measures:
    lacking = {k: v for k, v in gradients.items() if k != half}
    with pytest.raises(KeyError, match=half):
      entry.prepare()(state, lambda lacking=lacking: iter([lacking]))


@pytest.mark.parametrize("name", parts.CHAIN)
def test_an_entry_without_the_retain_half_needs_no_retain_gradient_in_a_step(name):
  entry = parts.CHAIN[name]
  method = make("learn" if entry.goes_back else "ascent", name)
  update = lambda: method.tx.update(SMALL, method.tx.init(SMALL), SMALL)
  if "retain" in entry.reads or (name in EDITS and "retain" in entry.measures):
    with pytest.raises(TypeError, match="retain_grads"):
      jax.eval_shape(update)
  else:
    jax.eval_shape(update)


TABLES = {"loss": parts.FORGET_LOSSES, "retain_loss": parts.RETAIN_LOSSES}


@pytest.mark.parametrize(
  ("field", "name"),
  [(field, name) for field, table in TABLES.items() for name in table if table[name].make],
)
def test_a_loss_has_no_gradient_at_the_start_where_its_entry_says_so(field, name):
  entry = TABLES[field][name]
  rows = BATCHES[0]["forget"]
  reference = train.embed(STAND_IN, PARAMS, rows)
  loss = lambda params: entry.make()(train.embed(STAND_IN, params, rows), reference)
  size = float(optax.tree.norm(jax.grad(loss)(PARAMS)))
  assert (size < 1e-6) == entry.flat_start, size


def test_a_new_entry_that_mixes_contradicts_the_other_mixers_and_teaches_retain(monkeypatch):
  triple = lambda: transforms.add_retain(3.0)
  monkeypatch.setitem(
    parts.CHAIN, "triple", ChainEntry(triple, BEFORE, reads=("retain",), mixes=True)
  )
  assert make("ascent", "triple").reads == ("forget", "retain")
  assert make("none", "triple").reads == ("retain",)
  assert make("leave_reference", "triple").reads == ("forget", "retain")
  refused("triple and munba contradict each other", "ascent", "triple", "munba")
  refused("so the chain needs one of munba, alternate, add_retain, triple", "leave_reference")
  refused("without 'add_retain' or 'triple' in the chain", "none")
  refused(
    "triple and reflect together would unlearn retain with forget", "learn", "triple", "reflect"
  )


def test_a_new_entry_that_measures_contradicts_losses_that_are_flat_at_the_start(monkeypatch):
  weigh = ChainEntry(transforms.keep_salient, AFTER, transforms.find_salient, measures=("forget",))
  monkeypatch.setitem(parts.CHAIN, "weigh", weigh)
  monkeypatch.setitem(parts.CHAIN, "spare", weigh._replace(measures=("retain",)))
  assert make("ascent", "weigh").reads == ("forget",)
  assert make("ascent", "spare").reads == ("forget", "retain")
  refused("gives no forget gradient, and weigh needs one", "none", "weigh", "add_retain")
  refused("and weigh measures gradients there", "leave_reference", "weigh", "add_retain")
  refused("and spare measures", "ascent", "spare", "add_retain", retain_loss="divergence")


def test_a_new_edit_trains_nothing_and_goes_with_what_is_harmless_alone(monkeypatch):
  shrink = ChainEntry(lambda: optax.scale(-0.1), INSTEAD, measures=("forget",))
  monkeypatch.setitem(parts.CHAIN, "shrink", shrink)
  monkeypatch.setitem(parts.CHAIN, "watch", ChainEntry(optax.identity, AFTER, harmless=True))
  for chain in (["shrink"], ["shrink", "watch", "train_only"]):
    method = make("ascent", *chain)
    assert method.reads == ("forget",)
    updates, _ = method.tx.update(SMALL, method.tx.init(SMALL), SMALL)  # and no optimizer
    np.testing.assert_allclose(updates["text"]["kernel"], -0.1 * SMALL["text"]["kernel"])
  refused("shrink edits the weights once.*Only train_only, watch", "ascent", "shrink", "clip")
  refused("Use it with reflect or dampen or shrink in the chain", "learn")


def test_new_entries_that_change_lengths_or_set_them_contradict_each_other(monkeypatch):
  monkeypatch.setitem(parts.CHAIN, "double", ChainEntry(optax.identity, BEFORE, rescales=True))
  monkeypatch.setitem(parts.CHAIN, "unit", ChainEntry(optax.identity, BEFORE, normalises=True))
  refused("munba scales.*so scale or clip or double has no effect", "ascent", "munba", "double")
  refused("unit scales both gradients to length one", "ascent", "clip", "unit")


def test_new_entries_that_choose_layers_or_stretch_an_average_contradict_others(monkeypatch):
  monkeypatch.setitem(parts.CHAIN, "pick", ChainEntry(optax.identity, AFTER, chooses=True))
  monkeypatch.setitem(parts.CHAIN, "mean", ChainEntry(optax.identity, AFTER, averages=True))
  monkeypatch.setitem(parts.CHAIN, "tilt", ChainEntry(optax.identity, AFTER, stretches=True))
  refused("pick and grow_layers contradict each other", "ascent", "pick", "grow_layers")
  refused("mean moves.*divide_by_importance after it", "ascent", "mean", "divide_by_importance")
  refused("soup moves.*and tilt after it", "ascent", "soup", "tilt")
  assert make("ascent", "tilt", "soup").reads == ("forget",)


def test_a_new_entry_that_goes_back_wants_a_loss_that_teaches(monkeypatch):
  monkeypatch.setitem(parts.CHAIN, "undo", ChainEntry(optax.identity, AFTER, goes_back=True))
  monkeypatch.setitem(
    parts.FORGET_LOSSES, "memorise", LossEntry(lambda: losses.contrastive, teaches=True)
  )
  assert make("memorise", "undo").reads == ("forget",)
  refused("undo reverses.*Use it with loss = 'learn' or 'memorise'", "ascent", "undo")
  refused("'memorise' teaches the forget pairs; alone", "memorise")
  refused("and add_noise after it would cut", "memorise", "undo", "add_noise")
