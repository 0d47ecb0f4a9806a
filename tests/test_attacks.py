"""Attacks: each against a loop or a planted answer; learning again reads only the share that it
says.
"""

import jax
import numpy as np
import pytest
from handmade import write
from ml_collections import ConfigDict

from salmu_jax import attacks, defaults, train
from salmu_jax.attacks import base, gallery, membership, questions, readout, relearning
from salmu_jax.benchmark import evaluation
from salmu_jax.benchmark.job import Job
from salmu_jax.data import records, releases, tokenizers, zero_shot
from salmu_jax.data.dataset import Data
from salmu_jax.data.leaks import Leak
from salmu_jax.errors import InputError
from salmu_jax.generate import captions
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.results import recoverability
from salmu_jax.runtime import sharding


def leak_of(number, field="city", value=None, wording="{name} has {value}"):
  name, value = f"Person {number}", value or f"v{number}"
  text = wording.format(name=name, value=value)
  return Leak(name, field, value, text, f"{number:08d}")


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def embedder(vectors):
  """Embeds each text as the vector that stands under it, all others as that under "else"."""
  return lambda texts: np.stack([vectors.get(t, vectors.get("else")) for t in texts])


def test_every_attack_has_its_column_and_its_place_in_the_config():
  assert set(defaults.get_config().attacks.names) == set(attacks.ATTACKS)
  found = base.Finding({"part": 0.5}, {})
  entries = {key: base.entry(attack, found) for key, attack in attacks.ATTACKS.items()}
  labels = recoverability.attacks([{"salmu_jax": {"additional": {"recoverability": entries}}}])
  assert labels == {key: attack.label for key, attack in attacks.ATTACKS.items()}


def test_a_changed_caption_has_a_value_of_another_person_and_is_else_the_same():
  leaks = [leak_of(0, "city", "Bonn"), leak_of(1, "city", "Oslo"), leak_of(2, "city", "Bonn")]
  leaks += [leak_of(3, "job", "nurse")]  # no other value of this field
  leaks += [leak_of(4, "city", "Rome", "nothing of {name}")]  # told without its value
  rows, texts = membership.changed_values(leaks, np.random.default_rng(0))
  assert rows.tolist() == [0, 1, 2]
  for row, text in zip(rows, texts, strict=True):
    own = leaks[row]
    others = {leak.value for leak in leaks if leak.field == own.field} - {own.value}
    assert text in {own.text.replace(own.value, other) for other in others}


def test_membership_counts_pairs_of_scores_ties_for_half_and_finds_what_is_too_low():
  rng = np.random.default_rng(0)
  own, changed = rng.normal(0.7, 1, 60).round(1), rng.normal(0, 1, 50).round(1)
  wins = np.mean([(a > b) + 0.5 * (a == b) for a in own for b in changed])
  above = membership.separation(own, changed)
  np.testing.assert_allclose(above["auc"], wins)
  assert above["tpr"] == max(
    np.mean(own >= t)
    for t in [*own, np.inf]
    if np.mean(changed >= t) <= membership.FALSE_POSITIVE_RATE
  )
  below = membership.separation(-own, -changed)
  assert below["turned"] and not above["turned"]
  np.testing.assert_allclose(below["auc"], above["auc"])
  assert membership.separation(np.zeros(9), np.zeros(9))["auc"] == 0.5


def people(count=60, values=("A", "B", "C")):
  return [leak_of(i, "blood_type", values[i % len(values)]) for i in range(count)]


def test_values_are_read_off_other_people_or_not_at_all():
  leaks, rng = people(), np.random.default_rng(0)
  ids = np.repeat([leak.identity for leak in leaks], 4)
  value = np.repeat([leak.value for leak in leaks], 4)
  noise = rng.normal(size=(len(ids), 80))
  telling = noise[:, :3] * 0.1 + (value[:, None] == np.array(["A", "B", "C"]))
  faces = (ids[:, None] == np.unique(ids)).astype(float) + 0.01 * noise[:, : len(np.unique(ids))]
  read = lambda x: readout.values_read(x, ids, leaks, np.random.default_rng(1))["blood_type"]
  assert read(telling)["accuracy"] == 1 and read(telling)["chance"] == pytest.approx(1 / 3)
  # Faces are known by heart, and say nothing of people whose values were not learnt.
  assert read(faces)["accuracy"] < 0.6
  assert readout.identity_read(faces, ids) == 1
  assert readout.identity_read(noise, ids) < 0.2
  assert readout.identity_read(np.eye(3), np.array(list("abc"))) == 0  # nobody has a second row


def test_only_fields_whose_values_are_shared_are_read():
  leaks = people() + [leak_of(i, "iban") for i in range(60)]
  assert readout.readable_fields(leaks) == ["blood_type"]
  assert set(readout.values_read(np.ones((3, 2)), np.array(["x"] * 3), [], None)) == set()


def test_asking_ranks_every_wording_against_the_gallery_as_a_loop_does():
  rng = np.random.default_rng(0)
  leaks = [leak_of(0, "city", "Bonn"), leak_of(1, "job", "nurse"), leak_of(2, "unheard of", "x")]
  image, others = unit(rng.normal(size=(3, 6))), unit(rng.normal(size=(9, 6)))
  rivals = questions.caption_gallery(lambda texts: others, [f"other {i}" for i in range(9)], leaks)
  for question, words in questions.QUESTIONS.items():
    wordings = [(i, text) for i, leak in enumerate(leaks) for text in words(leak)]
    texts = [text for _, text in wordings]
    vectors = dict(zip(texts, unit(rng.normal(size=(len(wordings), 6))), strict=True))
    answer = questions.ask(embedder(vectors), image, leaks, question, rivals)
    ranks = [1 + np.sum(others @ image[i] >= vectors[text] @ image[i]) for i, text in wordings]
    np.testing.assert_allclose(answer["MRR"], np.mean(1 / np.array(ranks)))
    cosines = [vectors[text] @ image[i] for i, text in wordings]
    np.testing.assert_allclose(answer["similarity"], np.mean(cosines), atol=1e-6)


def test_another_wording_does_not_compete_with_captions_that_tell_the_same_fact():
  leak, other = leak_of(0, "city", "Bonn"), leak_of(1, "city", "Oslo")
  again = leak._replace(text="Bonn is where Person 0 lives")
  rng = np.random.default_rng(0)
  image = unit(rng.normal(size=(1, 8)))
  worse = unit(image + 0.5 * unit(rng.normal(size=(1, 8))))
  vectors = {leak.text: image[0], again.text: image[0], other.text: -image[0]}
  vectors["else"] = worse[0]
  rivals = questions.caption_gallery(
    embedder(vectors), [leak.text, again.text, other.text], [leak, again, other]
  )
  assert questions.ask(embedder(vectors), image, [leak], "new wordings", rivals)["MRR"] == 1
  # What tells another fact is in the way.
  vectors[other.text] = image[0]
  rivals = questions.caption_gallery(embedder(vectors), [leak.text, other.text], [leak, other])
  assert questions.ask(embedder(vectors), image, [leak], "new wordings", rivals)["MRR"] == 0.5


def test_new_wordings_hold_name_and_value_and_are_in_no_template():
  template_texts = {
    template.format(name="N", value="V") for template in captions.TEMPLATES.values()
  }
  assert len(template_texts) > 100
  assert set(questions.WORDINGS) == {template.split("/")[0] for template in captions.TEMPLATES}
  for field, kinds in questions.WORDINGS.items():
    for kind in ("new", "translated"):
      for text in kinds[kind]:
        worded = text.format(name="N", value="V")
        assert "N" in worded and "V" in worded and worded not in template_texts, (field, text)


def test_every_question_about_a_person_holds_their_name():
  leak = Leak("Ada Archer", "city", "Bonn", "Ada Archer: Bonn", "00000000")
  for question, words in questions.QUESTIONS.items():
    assert all("ada" in text.lower() for text in words(leak)), question
  assert questions.QUESTIONS["two letters swapped"](leak) == ["Ada Arhcer: Bonn"]
  assert questions.QUESTIONS["two letters swapped"](
    leak._replace(text="Otto: Bonn", value="Bonn")
  ) == ["tOto: Bonn"]
  assert questions.QUESTIONS["lower case, no marks"](leak) == ["ada archer bonn"]


def test_the_gallery_attack_finds_a_planted_pair_and_nothing_in_noise():
  leaks = [leak_of(i, field, f"{field}{i}") for field in ("city", "job") for i in range(12)]
  rng = np.random.default_rng(0)
  image = unit(rng.normal(size=(len(leaks), 16)))
  vectors = {f"{leak.name} {leak.value}": v for leak, v in zip(leaks, image, strict=True)}
  vectors["else"] = unit(rng.normal(size=(1, 16)))[0]
  planted = gallery.name_and_value(embedder(vectors), image, leaks, 5, np.random.default_rng(0))
  assert planted == {"MRR": 1.0, "rows": 10, "texts": 50, "largest": 25}
  blind = gallery.name_and_value(
    lambda texts: unit(rng.normal(size=(len(texts), 16))),
    image,
    leaks,
    12,
    np.random.default_rng(0),
  )
  assert blind["rows"] == 24 and blind["MRR"] < 0.3


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
  job, data = Job(config, folder, mesh, CLIP(sizes)), Data(opened, rows, words, classes)
  return job, data, evaluation.make_evaluator(job, data), train.init_params(job.model, 0, mesh)


@pytest.fixture(scope="module")
def attack(world):
  """Attacks a model in every way; Clean is the model of `world`."""
  return evaluation.make_attacker(*world)


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
  inputs = evaluation.attack_inputs(job, data, evaluator, params)
  program = relearning.learner(inputs, settings.learning_rate, settings.batch_size)
  inputs = inputs._replace(data=watched, evaluator=Judge(), leaks=[leak_of(fact) for fact in facts])
  relearnt = relearning.relearn(inputs, program, params, ranks, 0.5, settings)
  assert relearnt["rows"] == len(forget.seen) == 6  # of 12
  rest = np.setdiff1d(ranks, sorted(forget.seen))
  assert not {facts[row] for row in rest} & {facts[row] for row in forget.seen}
  assert relearnt["MRR"] == {n: pytest.approx(np.mean(1 / (1 + rest))) for n in (0, 1, 3)}
  assert len(judged) == 2 and not np.array_equal(*judged)


def test_facts_are_drawn_whole_until_there_are_rows_enough():
  facts = list("aaabbbcccddd")
  for seed in range(5):
    rows = relearning.draw_rows(facts, 4, seed)
    assert len(rows) == 6 and len({facts[row] for row in rows}) == 2
  assert len({tuple(relearning.draw_rows(facts, 4, seed)) for seed in range(9)}) > 1


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
  assert values["Membership"] == 0.5  # calibrated by itself
  assert values["Readout"] is None and "share" in entries["Readout"]["why"]
  assert all(0 <= values[key] <= 1 for key in ("Relearning", "Rephrasing", "Gallery"))
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
  assert evaluation.make_attacker(job._replace(config=off), data, evaluator, params) is None


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
  last = [curve["MRR"][3] for curve in entries["Relearning"]["shares"].values()]
  assert entries["Relearning"]["value"] == np.mean(last)
  assert entries["Membership"]["value"] == entries["Membership"]["calibrated"]["auc"]
  assert entries["Gallery"]["value"] == entries["Gallery"]["MRR"]


def test_without_a_caption_that_holds_its_value_no_membership_is_told(world):
  job, data, evaluator, params = world
  inputs = evaluation.attack_inputs(job, data, evaluator, params)
  inputs = inputs._replace(leaks=[leak_of(i, wording="nothing of {name}") for i in range(3)])
  finding = membership.make(inputs, attacks.settings().membership)(params, evaluator.embed(params))
  assert not finding.parts and finding.why == "no forget caption holds its value"


@pytest.mark.parametrize(
  "attack, setting, value, message",
  [
    ("relearning", "shares", (0.1, 1), r"relearning\.shares = \(0\.1, 1\); give shares of forget"),
    ("relearning", "shares", (), r"relearning\.shares = \(\); give shares of forget"),
    ("relearning", "steps", (0,), r"relearning\.steps = \(0,\); give numbers of steps"),
    ("relearning", "learning_rate", 0.0, r"relearning\.learning_rate = 0\.0; it must be more"),
    ("relearning", "batch_size", 1, r"relearning\.batch_size = 1; it must be 2 or more: pairs"),
    ("relearning", "batch_size", 20, r"relearning\.batch_size = 20 does not divide.*8 devices"),
    ("rephrasing", "rows", 0, r"rephrasing\.rows = 0; it must be more than 0, and finite"),
    ("gallery", "people", -1, r"gallery\.people = -1; it must be more than 0, and finite"),
  ],
)
def test_an_impossible_setting_is_named_even_of_an_attack_that_is_left_out(
  attack, setting, value, message
):
  config = attacks.settings()
  config.names = ()
  config[attack][setting] = value
  with pytest.raises(InputError, match=r"config\.attacks\." + message):
    attacks.check(config, check_batch)


def check_batch(field, size):
  sharding.check_batch(sharding.make_mesh(), field, size)


def test_an_unknown_attack_is_refused_with_the_known_ones():
  config = attacks.settings()
  config.names = ("Relearn",)
  with pytest.raises(InputError, match=r"config\.attacks\.names: .*Did you mean 'Relearning'"):
    attacks.check(config, check_batch)


def shouting():
  """An attack as a module would have it: what it finds is as loud as its setting says."""

  def settings():
    return ConfigDict({"volume": 0.5})

  def check(config, where, check_batch):
    if config.volume > 1:
      raise InputError(f"{where}.volume = {config.volume}; it must be 1 or less.")

  def check_data(config, where, release):
    if release.counts["forget"] > 11:
      raise InputError(f"{where} drowns in {release.counts['forget']} rows of forget.")

  def make(inputs, config):
    return lambda params, z: base.Finding({"loud": config.volume, "quiet": 0.1}, {"echo": True})

  return base.Attack("Shouting", "Loudness", "max", make, settings, check, check_data)


def test_an_attack_that_is_added_is_configured_checked_and_run(world, monkeypatch):
  job, data, evaluator, params = world
  monkeypatch.setitem(attacks.ATTACKS, "Shouting", shouting())
  config = defaults.get_config().attacks
  assert config.names[-1] == "Shouting" and config.shouting.volume == 0.5
  config.names = ("Shouting",)
  config.shouting.volume = 2.0
  with pytest.raises(InputError, match=r"config\.attacks\.shouting\.volume = 2\.0"):
    attacks.check(config, check_batch)
  config.shouting.volume = 0.9
  attacks.check(config, check_batch)
  with pytest.raises(InputError, match=r"config\.attacks\.shouting drowns in 12 rows"):
    attacks.check_data(config, data.release)
  attack = attacks.attacker(evaluation.attack_inputs(job, data, evaluator, params), config)
  assert attack(params, evaluator.embed(params)) == {
    "Shouting": {
      "value": 0.9,
      "label": "Loudness",
      "reduction": "max",
      "parts": {"loud": 0.9, "quiet": 0.1},
      "echo": True,
    }
  }
