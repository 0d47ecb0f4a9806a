"""Any loss goes with any chain, and what makes no sense is refused with the reason."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from composed import EDITS, SMALL, draw, make
from little import MODEL, PARAMS, sgd_settings, unlearning_batch

from salmu_jax import train
from salmu_jax.errors import InputError
from salmu_jax.methods import METHODS, base, compose, parts
from salmu_jax.runtime import sharding
from salmu_jax.train import optimizers

ONE = sharding.make_mesh(jax.devices()[:1])
BATCH = unlearning_batch()


def fits(loss, name):
  """Whether a loss and one transformation are a method."""
  if loss == "learn":
    return name in ("reflect", *EDITS)
  if loss == "none":
    return name in ("add_retain", "add_noise_by_importance")
  if loss == "leave_reference":
    return name in ("add_retain", "munba", "alternate")
  return name != "reflect"


@pytest.mark.parametrize("name", parts.CHAIN)
@pytest.mark.parametrize("loss", parts.FORGET_LOSSES)
def test_every_loss_goes_with_every_transformation_or_is_refused_with_a_reason(loss, name):
  if not fits(loss, name):
    with pytest.raises(InputError, match=f"{loss}|{name}"):
      make(loss, name)
    return
  method = make(loss, name)
  call = lambda p: method.tx.update(p, method.tx.init(p), p, retain_grads=p)
  updates, _ = jax.eval_shape(call, SMALL)
  assert jax.tree.structure(updates) == jax.tree.structure(SMALL)


def outcome(method, forget, retain):
  """The parameters after four steps with these gradients, and a pass of them for `prepares`."""
  params = draw(0)
  state = method.tx.init(params)
  for prepare in method.prepares:
    state = prepare(state, lambda: iter([{"forget": forget, "retain": retain}]))
  update = jax.jit(
    lambda state, params: method.tx.update(forget, state, params, retain_grads=retain)
  )
  for _ in range(4):
    updates, state = update(state, params)
    params = optax.apply_updates(params, updates)
  return np.concatenate([np.ravel(x) for x in jax.tree.leaves(params)])


@pytest.mark.parametrize("name", parts.CHAIN)
def test_a_composed_method_says_truly_which_halves_its_outcome_depends_on(name):
  method = make("learn" if name == "reflect" else "ascent", name)
  usual = outcome(method, draw(22), draw(2))
  for half, others in (
    ("forget", [outcome(method, draw(seed), draw(2)) for seed in range(3, 13)]),
    ("retain", [outcome(method, draw(22), draw(seed)) for seed in range(3, 13)]),
  ):
    depends = any(not np.allclose(usual, other, rtol=1e-6) for other in others)
    assert depends == (half in method.reads), half


@pytest.mark.parametrize("second", parts.CHAIN)
@pytest.mark.parametrize("first", parts.CHAIN)
def test_every_pair_of_transformations_gives_an_update_or_is_refused_with_a_reason(first, second):
  try:
    method = make("learn" if "reflect" in (first, second) else "ascent", first, second)
  except InputError as error:
    assert first in str(error) or second in str(error)
    assert (
      {first, second} & {"munba", "alternate", "add_retain", "reflect", *EDITS}
      or first == second
      or {first, second} == {"select_layers", "grow_layers"}
      or (first, second) == ("soup", "divide_by_importance")
    )
    return
  call = lambda p: method.tx.update(p, method.tx.init(p), p, retain_grads=p)
  updates, _ = jax.eval_shape(call, SMALL)
  assert jax.tree.structure(updates) == jax.tree.structure(SMALL)


@functools.cache
def embedded():
  return jax.eval_shape(lambda: train.embed(MODEL, PARAMS, BATCH["forget"]))


@pytest.mark.parametrize("loss", parts.FORGET_LOSSES)
@pytest.mark.parametrize("retain_loss", parts.RETAIN_LOSSES)
def test_every_pair_of_losses_is_a_method_whose_losses_are_numbers(loss, retain_loss):
  flat = [parts.FORGET_LOSSES[loss].flat_start, parts.RETAIN_LOSSES[retain_loss].flat_start]
  if all(flat) or (loss == "none" and flat[1]):
    with pytest.raises(InputError, match=r"the model would not move"):
      make(loss, "add_retain", retain_loss=retain_loss)
    return
  if loss == "learn":
    method, reads = make(loss, "reflect"), ("forget",)
  else:
    method = make(loss, "add_retain", retain_loss=retain_loss)
    reads = ("retain",) if loss == "none" else ("forget", "retain")
  z = embedded()
  assert method.reads == reads
  for loss_of_half in method.losses.values():
    assert jax.eval_shape(loss_of_half, z, z).shape == ()


def test_a_long_chain_runs_measures_and_limits_what_moves():
  method = make("delete", "project_conflicts", "add_retain", "keep_salient", "divide_by_importance",
                "train_only")  # fmt: skip
  gradients = train.jitted_gradients(MODEL, method, ONE)
  state = train.start_state(PARAMS, method.tx, ONE)
  state = train.prepared(state, method, lambda: iter([gradients(PARAMS, BATCH)]), ONE)
  step = train.jitted_unlearn_step(MODEL, method, ONE)
  for _ in range(2):
    state, _ = step(state, PARAMS, BATCH)
  changed = jax.tree.map(lambda a, b: bool(np.any(a != b)), PARAMS, state.params)
  assert not any(jax.tree.leaves(changed["visual"])) and any(jax.tree.leaves(changed["text"]))


def test_the_optimizer_stands_between_mixing_and_limits_whatever_the_order_in_the_config():
  a, b = make("ascent", "add_retain", "keep_salient"), make("ascent", "keep_salient", "add_retain")
  grads = jax.tree.map(jnp.ones_like, PARAMS)
  both = [m.tx.update(grads, m.tx.init(PARAMS), PARAMS, retain_grads=grads)[0] for m in (a, b)]
  jax.tree.map(np.testing.assert_array_equal, *both)


def test_a_composed_method_equals_the_named_one():
  grads = jax.tree.map(lambda x: jnp.full_like(x, 0.1), PARAMS)
  retain = jax.tree.map(lambda x: jnp.full_like(x, -0.3), PARAMS)
  for name, composed in (
    ("grad_diff", make("ascent", "add_retain")),
    ("gradient_surgery", make("ascent", "project_conflicts", "add_retain")),
    ("munba", make("ascent", "munba")),
    ("finetune", make("none", "add_retain")),
  ):
    optimizer = optimizers.make_optimizer(sgd_settings(), 4)
    named = base.build(METHODS[name], optimizer, {}, steps=4, seed=0)
    assert named.reads == composed.reads
    both = [
      m.tx.update(grads, m.tx.init(PARAMS), PARAMS, retain_grads=retain)[0]
      for m in (named, composed)
    ]
    jax.tree.map(np.testing.assert_array_equal, *both)


NONSENSE = [
  ({"loss": "npq"}, r"loss: unknown name 'npq'\. Did you mean 'npo'"),
  ({"loss": ("npo", {"bet": 1.0})}, r"loss: npo: unknown name 'bet'\. Did you mean 'beta'"),
  ({"loss": 3}, r"loss: 3 is neither a name nor a pair"),
  ({"retain_loss": "kl"}, r"retain_loss: unknown name 'kl'"),
  ({"chain": "add_retain"}, r"chain = 'add_retain'; it must be a tuple"),
  ({"chain": ("pcgrad",)}, r"chain: unknown name 'pcgrad'"),
  (
    {"chain": (("keep_salient", {"share": 0.5}),)},
    r"keep_salient: unknown name 'share'.*fraction",
  ),
  ({"chain": (("keep_salient", 0.5),)}, r"neither a name nor a pair"),
  (
    {"chain": ("trust_region",)},
    r"trust_region needs radius; write \('trust_region', \{'radius'",
  ),
  ({"chain": (("train_only", {"patterns": "("}),)}, r"train_only: '\(' is no regular expression"),
  ({"chain": ("add_retain", "add_retain")}, r"add_retain occurs 2 times"),
  ({"chain": ("munba", "add_retain")}, r"munba and add_retain contradict each other"),
  (
    {"chain": (("dampen", {"alpha": 1.0, "strength": 1.0}), "add_retain")},
    r"dampen edits the weights once and trains nothing, so add_retain would have no effect",
  ),
  (
    {"loss": "none", "chain": ("keep_salient",)},
    r"no forget gradient, and keep_salient needs one",
  ),
  ({"chain": (3,)}, r"chain: 3 is neither a name nor a pair"),
  ({"chain": ((),)}, r"chain: \(\) is neither a name nor a pair"),
  (
    {"chain": (("train_only", {"patterns": 5}),)},
    r"patterns = 5; it must be a regular expression",
  ),
  ({"chain": (("train_only", {"patterns": ()}),)}, r"patterns = \(\); it must be"),
  ({"retain_loss": ["contrastive"]}, r"retain_loss: unknown name"),
  ({"retain_loss": "divergence"}, r"retain_loss = 'divergence', but nothing in the chain reads it"),
  (
    {
      "retain_loss": "similarity_retention",
      "chain": (("dampen", {"alpha": 1.0, "strength": 1.0}),),
    },
    r"compares with the start, where its gradient is zero, and dampen measures",
  ),
  (
    {"loss": "leave_reference", "chain": ("add_retain", "keep_salient")},
    r"keep_salient measures",
  ),
  (
    {"chain": ("grow_layers", "select_layers")},
    r"grow_layers and select_layers contradict each other",
  ),
  (
    {"chain": ("soup", "divide_by_importance")},
    r"and divide_by_importance after it would rescale that step\. Put divide_by_importance before",
  ),
  ({"loss": "leave_reference"}, r"has no gradient at the start, so the chain needs one of munba"),
  (
    {"loss": "learn", "chain": ("add_retain", ("reflect", {"coefficient": 1.0}))},
    r"together would unlearn retain with forget",
  ),
  (
    {"loss": "learn", "chain": (("reflect", {"coefficient": 1.0}), "divide_by_importance")},
    r"and divide_by_importance after it would cut that step",
  ),
  (
    {"chain": ("munba", ("clip", {"max_norm": 1.0}))},
    r"munba scales both gradients to length one",
  ),
  ({"chain": (("scale", {"step_size": 0.0}),)}, r"chain: scale: step_size = 0\.0; .*above 0"),
  ({"chain": (("trust_region", {"radius": 0.0}),)}, r"chain: trust_region: radius = 0\.0"),
  ({"loss": "none"}, r"leaves nothing to train on"),
  ({"loss": "learn"}, r"the opposite of unlearning"),
  ({"chain": (("reflect", {"coefficient": 1.0}),)}, r"reflect reverses what was learnt"),
  (
    {"chain": (("keep_salient", {"fraction": 1.5}),)},
    r"fraction = 1\.5; it must be a finite number above 0",
  ),
  ({"chain": (("project_out", {"rank": 0}),)}, r"rank = 0; it must be a whole number"),
  ({"chain": (("project_both", {"sides": "left"}),)}, r"project_both: sides: unknown name 'left'"),
  ({"chain": (("project_both", {"share": 0}),)}, r"share = 0; it must be a finite number above 0"),
  ({"chain": (("project_both", {"half": "forget"}),)}, r"project_both: unknown name 'half'"),
  (
    {"chain": (("add_retain", {"weight": -1.0}),)},
    r"weight = -1\.0; it must be a finite number above 0",
  ),
  ({"loss": "none", "chain": (("add_retain", {"weight": 0.0}),)}, r"weight = 0\.0; .* above 0"),
  (
    {"loss": "leave_reference", "retain_loss": "divergence", "chain": ("add_retain",)},
    r"'leave_reference' and retain_loss = 'divergence' have no gradient at the start",
  ),
  (
    {"loss": "none", "retain_loss": "retention", "chain": ("add_retain",)},
    r"Take another loss, or retain_loss = 'contrastive'",
  ),
  ({"loss": ("npo", {"beta": 0.0})}, r"beta = 0\.0; it must be a finite number above 0"),
]


@pytest.mark.parametrize(("args", "message"), NONSENSE)
def test_nonsense_is_refused_with_the_reason(args, message):
  composition = {"loss": "ascent", "chain": (), **args}
  with pytest.raises(InputError, match=message):
    base.build(compose.make, optax.sgd(0.1), composition, steps=4, seed=0)
