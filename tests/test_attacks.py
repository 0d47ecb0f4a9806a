"""Attacks: each against a loop or a planted answer; learning again reads only the share that it
says.
"""

import jax
import numpy as np
import pytest
from handmade import write
from ml_collections import ConfigDict
from planted import leak_of, unit

from salmu_jax import attacks, defaults, fields, train
from salmu_jax.attacks import (
  base,
  interpolation,
  membership,
  questions,
  relearning,
  rephrasing,
)
from salmu_jax.benchmark import evaluation
from salmu_jax.benchmark.job import Job
from salmu_jax.data import records, releases, tokenizers, zero_shot
from salmu_jax.data.dataset import Data
from salmu_jax.errors import InputError
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.ranges import Range
from salmu_jax.results import bootstrap, recoverability
from salmu_jax.runtime import sharding


def test_every_attack_has_its_column_and_its_place_in_the_config():
  assert set(defaults.get_config().attacks.names) == set(attacks.ATTACKS)
  found = base.Finding({"part": 0.5}, {})
  entries = {key: base.entry(attack, found) for key, attack in attacks.ATTACKS.items()}
  labels = recoverability.attacks([{"salmu_jax": {"additional": {"recoverability": entries}}}])
  assert labels == {key: attack.label for key, attack in attacks.ATTACKS.items()}


class Watched(records.Rows):
  """Rows that remember which of them were read."""

  def __init__(self, source):
    super().__init__(source, range(len(source)))
    self.seen = set()

  def __getitem__(self, index):
    self.seen.add(int(index))
    return super().__getitem__(index)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  """(job, data, evaluator, parameters) of a handmade release and a small model."""
  folder = tmp_path_factory.mktemp("attacks")
  opened = releases.open_release(write(folder / "release"))
  table = releases.columns(opened, "retain_synth")
  releases.write_fragile(opened, table["file_name"][1:], np.arange(20.0))
  words = tokenizers.compact_tokenizer(16, ["a picture of a thing"])
  sizes = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), 16, words.vocab_size)
  config = defaults.get_config()
  config.evaluate.update(gallery=7, batch_size=8)
  config.attacks.relearning.update(shares=(0.5,), steps=(1, 3), batch_size=4)
  config.attacks.rephrasing.rows, config.attacks.gallery.people = 6, 2
  rows = records.build(opened, folder / "records")
  mesh = sharding.make_mesh(jax.devices()[:1])
  classes = zero_shot.of_release(opened, rows)
  job, data = Job(config, folder, folder, mesh, CLIP(sizes)), Data(opened, rows, words, classes)
  return job, data, evaluation.make_evaluator(job, data), train.init_params(job.model, 0, mesh)


def bounds(params):
  """One model in the place of both bounds."""
  return {"clean": params, "compromised": params}


@pytest.fixture(scope="module")
def attack(world):
  """Attacks a model in every way; Clean is the model of `world`."""
  job, data, evaluator, params = world
  return evaluation.make_attacker(job, data, evaluator, bounds(params))


def test_learning_again_reads_its_share_of_forget_and_no_more_and_judges_the_rest(world):
  job, data, evaluator, params = world
  forget = Watched(data.records["forget"])
  ranks, judged = np.arange(len(forget)), []

  class Judge:
    def forget_ranks(self, params):
      judged.append(np.asarray(jax.tree.leaves(params)[0]))
      return ranks

  watched = data._replace(records={**data.records, "forget": forget})
  settings = job.config.attacks.relearning
  facts = [row // 2 for row in range(len(forget))]  # two rows tell each
  inputs = evaluation.attack_inputs(job, data, evaluator, bounds(params))
  program = relearning.learner(inputs, max(settings.steps), settings.batch_size)
  inputs = inputs._replace(data=watched, evaluator=Judge(), leaks=[leak_of(fact) for fact in facts])
  mix = relearning.share_of_forget(inputs, 0.5, settings.batch_size)
  points = list(relearning.relearn(inputs, program, params, mix, ("all", 1e-3), settings))
  assert len(mix.rows) == len(forget.seen) == 6  # of 12
  rest = np.setdiff1d(ranks, sorted(forget.seen))
  assert not {facts[row] for row in rest} & {facts[row] for row in forget.seen}
  for point, step in zip(points, settings.steps, strict=True):
    assert point.step == step and point.judged.tolist() == rest.tolist()
    assert point.mrr == pytest.approx(np.mean(1 / (1 + rest)))
  assert len(judged) == 2 and not np.array_equal(*judged)


def test_mixes_without_forget_read_no_row_of_it_and_tell_of_nobody_in_it(world):
  job, data, evaluator, params = world
  forget = Watched(data.records["forget"])
  inputs = evaluation.attack_inputs(job, data, evaluator, bounds(params))
  inputs = inputs._replace(data=data._replace(records={**data.records, "forget": forget}))
  names = {leak.name for leak in inputs.leaks}
  for name in (relearning.RETAIN, relearning.OTHERS):
    mix = relearning.without_forget(inputs, name)
    rows = [mix.rows[at] for at in range(len(mix.rows))]
    assert len(rows) == 20 and mix.judged.tolist() == list(range(len(forget)))
    texts = [row["text"] for row in rows]
    assert all(isinstance(text, str | bytes) for text in texts)
    if name == relearning.OTHERS:
      assert not any(own in text for own in names for text in texts)
      assert all(" has " in text for text in texts)  # the wording of forget
  assert not forget.seen
  silent = inputs._replace(leaks=[leak_of(0, wording="nothing of {name}")])
  assert relearning.without_forget(silent, relearning.OTHERS) is None


def test_on_the_line_between_two_models_lie_their_means_and_the_loss_has_a_barrier(world):
  job, data, evaluator, params = world
  other = train.init_params(job.model, 1, job.mesh)
  middle = interpolation.interpolated(params, other, 0.25)
  expected = jax.tree.map(lambda a, b: 0.75 * a + 0.25 * b, params, other)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), middle, expected)
  assert interpolation.barrier({0.0: 1.0, 1.0: 3.0, 0.5: 2.5, 0.25: 1.5}) == 0.5
  assert interpolation.barrier({0.0: 1.0, 1.0: 3.0, 0.5: 1.0}) == 0
  inputs = evaluation.attack_inputs(job, data, evaluator, bounds(params))
  attack = interpolation.make(inputs._replace(compromised=other), interpolation.settings())
  finding = attack(params, evaluator.embed(params))
  for place, mrr in finding.parts.items():
    ranks = evaluator.forget_ranks(interpolation.interpolated(params, other, float(place)))
    assert mrr == pytest.approx(np.mean(1 / (1 + np.asarray(ranks))))
  assert list(finding.details["losses"]) == ["0", "0.5", "1"]
  image, text = unit(np.random.default_rng(0).normal(size=(2, 5, 4)).reshape(10, 4)).reshape(
    2, 5, 4
  )
  logits = np.exp(float(params["logit_scale"])) * image @ text.T
  rows = [np.log(np.exp(m).sum(1)) - np.diag(m) for m in (logits, logits.T)]
  np.testing.assert_allclose(interpolation.pair_loss(image, text, params), np.mean(rows), rtol=1e-5)


def test_the_worst_point_of_the_search_counts_and_its_cost_is_stated(world):
  job, data, evaluator, params = world
  settings = job.config.attacks.relearning.copy_and_resolve_references()
  settings.update(learning_rates=(1e-3, 3e-2), weights=("all", "low rank"), steps=(1, 2))
  inputs = evaluation.attack_inputs(job, data, evaluator, bounds(params))
  finding = relearning.make(inputs, settings)(params, evaluator.embed(params))
  assert set(finding.parts) == {"0.5 of forget", "retain", "other people"}
  for mix, curve in finding.details["curves"].items():
    assert len(curve) == 1 + 2 * 2 * 2
    assert finding.parts[mix] == max(curve.values())
  cost = finding.details["general_knowledge"]
  assert cost["before"] == evaluator.run(params)["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"]
  assert 0 <= cost["after"] <= 1


def test_the_interval_of_relearning_is_of_its_number_also_where_no_step_brings_more_back(world):
  job, data, evaluator, params = world
  settings = job.config.attacks.relearning.copy_and_resolve_references()
  settings.update(learning_rates=(1e-9,), shares=(), mixes=("retain",), steps=(1,))
  inputs = evaluation.attack_inputs(job, data, evaluator, bounds(params))
  z = evaluator.embed(params)
  finding = relearning.make(inputs, settings)(params, z)
  reciprocal = 1 / (1 + np.asarray(evaluator.ranks(z)))
  people = [leak.identity for leak in inputs.leaks]
  assert finding.parts == {"retain": reciprocal.mean()}
  assert finding.interval == bootstrap.of_rows(reciprocal, people)
  assert finding.details["worst"] == "retain, before any step"


def test_ranks_of_forget_are_those_of_the_whole_evaluation(world):
  _, _, evaluator, params = world
  whole = evaluator.run(params)["efficacy"]["1.1_RetFail"]["outcomes"]
  assert evaluator.forget_ranks(params).tolist() == whole


def test_a_model_is_attacked_in_every_way_and_clean_knows_no_member(world, attack):
  job, data, evaluator, params = world
  first, again = (evaluator.run(params, attack=attack) for _ in range(2))
  entries = first["salmu_jax"]["additional"]["recoverability"]
  assert entries == again["salmu_jax"]["additional"]["recoverability"]
  assert set(entries) == set(attacks.ATTACKS)
  values = recoverability.values(first, attacks.ATTACKS)
  same = entries["Membership"]  # Clean is not compared with itself
  assert values["Membership"] == same["calibrated"]["auc"] == same["similarity"]["auc"]
  assert values["Readout"] is None and "share" in entries["Readout"]["why"]
  measured = ("Relearning", "Rephrasing", "Gallery", "Quantisation", "Interpolation")
  assert all(0 <= values[key] <= 1 for key in measured)
  assert entries["Rephrasing"]["value"] == max(
    answer["MRR"]
    for question, answer in entries["Rephrasing"]["asked"].items()
    if question not in (questions.OWN, questions.NAME)
  )
  broken = evaluator.embed(params)
  broken.image["forget"][0] = np.nan
  assert all(entry["value"] is None for entry in attack(params, broken).values())
  off = job.config.copy_and_resolve_references()
  off.attacks.names = ()
  assert evaluation.make_attacker(job._replace(config=off), data, evaluator, bounds(params)) is None


def test_a_number_follows_from_the_parts_that_stand_beside_it(world, attack):
  _, _, evaluator, params = world
  entries = attack(params, evaluator.embed(params))
  for key, entry in entries.items():
    assert entry["label"] == attacks.ATTACKS[key].label
    if entry["value"] is None:
      assert entry["why"] and "parts" not in entry
    else:
      parts = list(entry["parts"].values())
      assert entry["value"] == {"mean": np.mean, "max": max}[entry["reduction"]](parts)
  curves = entries["Relearning"]["curves"].values()
  assert entries["Relearning"]["value"] == max(max(curve.values()) for curve in curves)
  assert entries["Membership"]["value"] == entries["Membership"]["calibrated"]["auc"]
  assert entries["Gallery"]["value"] == entries["Gallery"]["MRR"]


@pytest.mark.parametrize(
  "changes, why",
  [
    ({"wording": "nothing of {name}"}, "no forget caption holds its value"),
    ({"value": "Porto"}, "no field of forget has a second value"),
  ],
)
def test_without_a_value_in_a_caption_or_a_second_one_nothing_is_told_of_it(world, changes, why):
  job, data, evaluator, params = world
  inputs = evaluation.attack_inputs(job, data, evaluator, bounds(params))
  inputs = inputs._replace(leaks=[leak_of(i, **changes) for i in range(3)])
  for attack in (membership, rephrasing):
    run = attack.make(inputs, attacks.settings()[attack.ATTACK.key.lower()])
    finding = run(params, evaluator.embed(params))
    assert not finding.parts and finding.why == why


@pytest.mark.parametrize(
  "attack, setting, value, message",
  [
    ("relearning", "shares", (0.1, 1), r"relearning\.shares = \(0\.1, 1\); .* above 0 and below 1"),
    ("relearning", "mixes", ("forget",), r"relearning\.mixes: unknown name 'forget'"),
    (
      "relearning",
      "weights",
      (),
      r"relearning\.weights = \(\); .*of at least 1",
    ),
    ("relearning", "weights", ("some",), r"relearning\.weights: unknown name 'some'"),
    (
      "interpolation",
      "places",
      (1.0,),
      r"interpolation\.places = \(1\.0,\); .*below 1",
    ),
    ("quantisation", "bits", (16,), r"quantisation\.bits = \(16,\); .*of at least 2 and at most 8"),
    ("rephrasing", "rivals", 0, r"rephrasing\.rivals = 0; it must be a whole number of at least 1"),
    (
      "relearning",
      "steps",
      (0,),
      r"relearning\.steps = \(0,\); .*of at least 1",
    ),
    ("relearning", "learning_rates", (0.0,), r"relearning\.learning_rates = \(0\.0,\); .* above 0"),
    (
      "relearning",
      "batch_size",
      1,
      r"relearning\.batch_size = 1; .*of at least 2",
    ),
    ("relearning", "batch_size", 20, r"relearning\.batch_size = 20 does not divide.*8 devices"),
    ("rephrasing", "rows", 0, r"rephrasing\.rows = 0; it must be a whole number of at least 1"),
    ("gallery", "people", -1, r"gallery\.people = -1; it must be a whole number of at least 1"),
  ],
)
def test_an_impossible_setting_is_named_even_of_an_attack_that_is_left_out(
  attack, setting, value, message
):
  config = attacks.settings()
  config.names = ()
  config[attack][setting] = value
  with pytest.raises(InputError, match=r"config\.attacks\." + message):
    check_attacks(config)


def check_attacks(config):
  fields.check(config, attacks.settings(), attacks.ranges(), "config.attacks")
  attacks.check(config, check_batch)


def check_batch(field, size):
  sharding.check_batch(sharding.make_mesh(), field, size)


def test_an_unknown_attack_is_refused_with_the_known_ones():
  config = attacks.settings()
  config.names = ("Relearn",)
  with pytest.raises(InputError, match=r"config\.attacks\.names: .*Did you mean 'Relearning'"):
    check_attacks(config)


def shouting():
  """An attack as a module would have it: what it finds is as loud as its setting says."""

  def settings():
    return ConfigDict({"volume": 0.5})

  def check_data(config, where, counts):
    if counts["forget"] > 11:
      raise InputError(f"{where} drowns in {counts['forget']} rows of forget.")

  def make(inputs, config):
    return lambda params, z: base.Finding({"loud": config.volume, "quiet": 0.1}, {"echo": True})

  return base.Attack(
    "Shouting", "Loudness", "max", make, settings, {"volume": Range(0, 1)}, check_data=check_data
  )


def test_an_attack_that_is_added_is_configured_checked_and_run(world, monkeypatch):
  job, data, evaluator, params = world
  monkeypatch.setitem(attacks.ATTACKS, "Shouting", shouting())
  config = defaults.get_config().attacks
  assert config.names[-1] == "Shouting" and config.shouting.volume == 0.5
  config.names = ("Shouting",)
  config.shouting.volume = 2.0
  with pytest.raises(InputError, match=r"config\.attacks\.shouting\.volume = 2\.0"):
    check_attacks(config)
  config.shouting.volume = 0.9
  check_attacks(config)
  with pytest.raises(InputError, match=r"config\.attacks\.shouting drowns in 12 rows"):
    attacks.check_data(config, data.release.counts)
  attack = attacks.attacker(evaluation.attack_inputs(job, data, evaluator, bounds(params)), config)
  assert attack(params, evaluator.embed(params)) == {
    "Shouting": {
      "value": 0.9,
      "interval": None,
      "label": "Loudness",
      "better": "lower",
      "reduction": "max",
      "parts": {"loud": 0.9, "quiet": 0.1},
      "echo": True,
    }
  }
