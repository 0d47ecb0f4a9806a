"""Methods of papers after the first baselines, each against a run written out in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from methodruns import PARAMS, whole_run

from salmu_jax.methods import METHODS, base
from salmu_jax.models.clip import Embeddings

RNG = np.random.default_rng(0)
TEXT = ("text", "text_projection")


def normal(*shape):
  return jnp.asarray(RNG.normal(size=shape), jnp.float32)


START = {"text": {"text_projection": normal(6, 4)}, "visual": {"proj": {"kernel": normal(5, 4)}}}


def flat(tree):
  return np.concatenate([np.asarray(x, np.float64).ravel() for x in jax.tree.leaves(tree)])


def pulls(seed):
  """A gradient on parameters, of a quadratic loss around a point of its own."""
  rng = np.random.default_rng(seed)
  goal = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32), START)
  return goal, lambda params: optax.tree.sub(params, goal)


(FORGET_GOAL, FORGET), (RETAIN_GOAL, RETAIN) = pulls(1), pulls(2)


def ended(name, steps, rate=0.1, **args):
  """The parameters after a run by gradient descent, and those after every step of it."""
  method = base.build(METHODS[name], optax.sgd(rate), args, steps=steps, seed=0)
  tx, params = optax.with_extra_args_support(method.tx), START
  state = tx.init(params)
  measured = {"forget": FORGET(START), "retain": RETAIN(START)}
  for prepare in method.prepares:
    state = prepare(state, lambda: iter([measured]))
  path = []
  for _ in range(steps):
    updates, state = tx.update(FORGET(params), state, params, retain_grads=RETAIN(params))
    params = optax.apply_updates(params, updates)
    path.append(params)
  return params, path


def test_rewind_goes_back_up_the_losses_of_all_data_and_then_down_that_of_retain():
  x = flat(START)
  for number in range(6):
    # The forget gradient that enters a method is that of the ascent.
    back = flat(FORGET_GOAL) * -1 + x - (x - flat(RETAIN_GOAL))
    x = x - 0.1 * (back if number < 4 else x - flat(RETAIN_GOAL))
  params, _ = ended("rewind_to_delete", 6, rewind=0.7, sigma=0.0)
  np.testing.assert_allclose(flat(params), x, rtol=1e-4, atol=1e-5)


def test_rewinding_undoes_gradient_descent_on_all_data_but_for_the_error_of_one_iteration():
  """Trained on f(x) = |x - a|^2 / 2 + |x - b|^2 / 2, then rewound by as many steps."""
  a, b, rate = 1.0, -0.5, 0.01
  trained = [np.array([4.0])]
  for _ in range(20):
    trained.append(trained[-1] - rate * (2 * trained[-1] - a - b))
  method = METHODS["rewind_to_delete"](optax.sgd(rate), steps=20, seed=0, rewind=1.0, sigma=0.0)
  params = {"x": jnp.asarray(trained[-1])}
  state = method.tx.init(params)
  for _ in range(20):
    x = params["x"]
    updates, state = method.tx.update({"x": a - x}, state, params, retain_grads={"x": x - b})
    params = optax.apply_updates(params, updates)
  explicit, proximal = float(params["x"][0]), trained[0][0]
  left = abs(explicit - proximal) / abs(trained[-1][0] - proximal)
  assert left < 0.03


def test_weight_distortion_is_noise_of_sigma_and_then_a_run_of_finetuning():
  plain, _ = ended("weight_distortion", 1, sigma=0.0)
  noisy, _ = ended("weight_distortion", 1, sigma=0.5)
  noise = flat(noisy) - flat(plain)
  assert 0.3 < np.std(noise) < 0.7
  tuned, _ = ended("finetune", 3)
  np.testing.assert_allclose(flat(ended("weight_distortion", 3, sigma=0.0)[0]), flat(tuned))
  # Descent on a quadratic shrinks the noise by the same factor in every step.
  noisy, _ = ended("weight_distortion", 3, sigma=0.5)
  np.testing.assert_allclose(flat(noisy) - flat(tuned), 0.9**2 * noise, rtol=1e-3, atol=1e-5)


def test_distance_reward_ends_further_from_the_start_than_finetuning_and_without_weight_there():
  tuned, _ = ended("finetune", 8)
  np.testing.assert_allclose(flat(ended("distance_reward", 8, weight=0.0)[0]), flat(tuned))
  far = [np.linalg.norm(flat(ended("distance_reward", 8, weight=w)[0]) - flat(START))
         for w in (0.0, 1.0, 20.0)]  # fmt: skip
  assert far[0] < far[1] < far[2]


def contrastive(s, scale):
  z = scale * s
  rows = np.log(np.exp(z).sum(1)) - np.diagonal(z)
  columns = np.log(np.exp(z).sum(0)) - np.diagonal(z)
  return (rows + columns).mean() / 2


def test_alignment_calibration_takes_true_pairs_apart_and_contrasts_wrong_ones():
  unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
  u, v = unit(RNG.normal(size=(5, 3))), unit(RNG.normal(size=(5, 3)))
  method = METHODS["alignment_calibration"](optax.sgd(1.0), negative=2.0, positive=3.0)
  wrong = np.stack([v[i - 1] for i in range(5)])
  expected = 2 * contrastive(u @ wrong.T, 4.0) + 3 * np.mean(
    [a @ b for a, b in zip(u, v, strict=True)]
  )
  z = Embeddings(jnp.float32(u), jnp.float32(v), jnp.float32(4.0))
  np.testing.assert_allclose(method.forget_loss(z, None), expected, rtol=1e-5)
  np.testing.assert_allclose(method.retain_loss(z, None), contrastive(u @ v.T, 4.0), rtol=1e-5)


def test_razor_descends_on_both_in_the_layers_that_are_open_and_the_others_keep_their_bits():
  _, path = ended("razor", 4, layers=2, forget=3.0)
  score = {}
  for name in START:
    t, f, r = (flat(tree[name]) for tree in (START, FORGET(START), RETAIN(START)))
    cosine = f @ r / np.linalg.norm(f) / np.linalg.norm(r)
    score[name] = np.linalg.norm(f) / np.linalg.norm(t) * (1 + cosine)
  first, second = sorted(score, key=lambda name: -score[name])
  at = lambda number, name: flat(path[number][name])
  step = lambda x, name: x - 0.1 * (3 * (x - flat(FORGET_GOAL[name])) + x - flat(RETAIN_GOAL[name]))
  x = flat(START[first])
  for number in range(4):
    x = step(x, first)
    np.testing.assert_allclose(at(number, first), x, rtol=1e-4, atol=1e-5)
  for number in range(2):
    np.testing.assert_array_equal(at(number, second), flat(START[second]))
  np.testing.assert_allclose(at(2, second), step(flat(START[second]), second), rtol=1e-4, atol=1e-5)


def test_vl_eraser_subtracts_a_thin_matrix_that_is_blind_to_retains_inputs():
  rank, share = 2, 0.5
  params, path = ended("vl_eraser", 5, coefficient=1.5, rank=rank, share=share)
  for name, kernel in (("text", TEXT), ("visual", ("visual", "proj", "kernel"))):
    pick = lambda tree, kernel=kernel: np.asarray(_at(tree, kernel), np.float64)
    change, learnt = pick(params) - pick(START), pick(path[-2]) - pick(START)
    assert np.linalg.matrix_rank(change, tol=1e-4) <= rank, name
    retain = pick(RETAIN(START))
    directions, sizes, _ = np.linalg.svd(retain)
    energy = sizes**2 / np.sum(sizes**2)
    used = directions[:, : 1 + np.argmax(np.cumsum(energy) >= share)]
    np.testing.assert_allclose(used.T @ change, 0, atol=1e-4)
    # It goes back along what was learnt, further than that was.
    assert np.sum(change * learnt) < -np.sum(learnt**2)


def _at(tree, path):
  for key in path:
    tree = tree[key]
  return tree


def test_space_adaptation_moves_the_text_projection_alone_by_thin_factors():
  _, after, _ = whole_run("space_adaptation")
  moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), PARAMS, after.params)
  assert moved["text"].pop("text_projection") and not any(jax.tree.leaves(moved))
  change = np.asarray(_at(after.params, TEXT) - _at(PARAMS, TEXT))
  assert np.linalg.matrix_rank(change, tol=1e-6) <= 5


def test_space_adaptation_is_pulled_back_by_its_penalty():
  sizes = [
    np.linalg.norm(flat(ended("space_adaptation", 30, penalty=p)[0]) - flat(START))
    for p in (0.0, 1.0, 5.0)
  ]
  assert sizes[0] > sizes[1] > sizes[2] > 0


def subgroup_run(**args):
  settings = dict(forgetting=0.5, layers=1, rank=4, decay=0.0, soup=0.25) | args
  return ended("subgroup", 4, **settings)


def test_subgroup_stays_in_its_layer_and_ends_a_share_of_the_way_from_the_start():
  whole, _ = subgroup_run(soup=1.0)
  part, _ = subgroup_run()
  np.testing.assert_allclose(
    flat(part) - flat(START), 0.25 * (flat(whole) - flat(START)), rtol=1e-3, atol=1e-5
  )
  fisher = {name: np.sum(flat(FORGET(START)[name]) ** 2) / np.sum(flat(RETAIN(START)[name]) ** 2)
            for name in START}  # fmt: skip
  chosen = max(fisher, key=fisher.get)
  moved = {name for name in START if np.any(flat(whole[name]) != flat(START[name]))}
  assert moved == {chosen}


def test_subgroup_first_forgets_and_is_then_reminded():
  _, path = ended("subgroup", 40, layers=2, rank=4, soup=1.0, decay=0.0)
  far = lambda params, goal: np.linalg.norm(flat(params) - flat(goal))
  assert far(path[19], FORGET_GOAL) < far(START, FORGET_GOAL)
  assert far(path[-1], RETAIN_GOAL) < far(path[19], RETAIN_GOAL)
