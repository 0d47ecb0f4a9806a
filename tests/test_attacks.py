"""Attacks: each against a loop or a planted answer; learning again reads only the share that it
says.
"""

import jax
import numpy as np
import pytest
from handmade import write

from salmu_jax import defaults, train
from salmu_jax.attacks import questions, readout, relearning
from salmu_jax.attacks.attacker import ATTACKS
from salmu_jax.benchmark import judging
from salmu_jax.benchmark.job import Job
from salmu_jax.data import records, releases, tokenizers, zero_shot
from salmu_jax.data.dataset import Data
from salmu_jax.generate import captions
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.results import scores
from salmu_jax.runtime import sharding


def leak(number, field="city", value=None, wording="{name} has {value}"):
  name, value = f"Person {number}", value or f"v{number}"
  text = wording.format(name=name, value=value)
  return dict(name=name, field=field, value=value, text=text, identity=f"{number:08d}")


def unit(x):
  return x / np.linalg.norm(x, axis=1, keepdims=True)


def known(vectors):
  """An embedder that gives each text the vector that it is known by, and others a far one."""
  return lambda texts: np.stack([vectors.get(t, vectors.get("else")) for t in texts])


def test_every_attack_has_its_column_and_its_place_in_the_config():
  assert set(ATTACKS) == set(scores.RECOVERABILITY)
  assert set(defaults.get_config().attacks.names) == set(ATTACKS)


def test_a_changed_caption_has_a_value_of_another_person_and_is_else_the_same():
  leaks = [leak(0, "city", "Bonn"), leak(1, "city", "Oslo"), leak(2, "city", "Bonn")]
  leaks += [leak(3, "job", "nurse")]  # no other value of this field
  leaks += [leak(4, "city", "Rome", "nothing of {name}")]  # told without its value
  rows, texts = readout.changed_values(leaks, np.random.default_rng(0))
  assert rows.tolist() == [0, 1, 2]
  for row, text in zip(rows, texts, strict=True):
    own = leaks[row]
    others = {each["value"] for each in leaks if each["field"] == own["field"]} - {own["value"]}
    assert text in {own["text"].replace(own["value"], other) for other in others}


def test_membership_counts_pairs_of_scores_ties_for_half_and_finds_what_is_too_low():
  rng = np.random.default_rng(0)
  own, changed = rng.normal(0.7, 1, 60).round(1), rng.normal(0, 1, 50).round(1)
  wins = np.mean([(a > b) + 0.5 * (a == b) for a in own for b in changed])
  found = readout.membership(own, changed)
  np.testing.assert_allclose(found["auc"], wins)
  assert found["tpr"] == max(
    np.mean(own >= t) for t in [*own, np.inf] if np.mean(changed >= t) <= readout.LOW_RATE
  )
  below = readout.membership(-own, -changed)
  assert below["turned"] and not found["turned"]
  np.testing.assert_allclose(below["auc"], found["auc"])
  assert readout.membership(np.zeros(9), np.zeros(9))["auc"] == 0.5


def people(count=60, values=("A", "B", "C")):
  return [leak(i, "blood_type", values[i % len(values)]) for i in range(count)]


def test_values_are_read_off_other_people_or_not_at_all():
  leaks, rng = people(), np.random.default_rng(0)
  ids = np.repeat([each["identity"] for each in leaks], 4)
  value = np.repeat([each["value"] for each in leaks], 4)
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
  leaks = people() + [leak(i, "iban") for i in range(60)]
  assert readout.readable_fields(leaks) == ["blood_type"]
  assert set(readout.values_read(np.ones((3, 2)), np.array(["x"] * 3), [], None)) == set()


def test_asking_ranks_every_wording_against_the_gallery_as_a_loop_does():
  rng = np.random.default_rng(0)
  leaks = [leak(0, "city", "Bonn"), leak(1, "job", "nurse"), leak(2, "unheard of", "x")]
  image, others = unit(rng.normal(size=(3, 6))), unit(rng.normal(size=(9, 6)))
  gallery = questions.gallery(lambda texts: others, [f"other {i}" for i in range(9)], leaks)
  for question, words in questions.QUESTIONS.items():
    asked = [(i, text) for i, each in enumerate(leaks) for text in words(each)]
    texts = [text for _, text in asked]
    vectors = dict(zip(texts, unit(rng.normal(size=(len(asked), 6))), strict=True))
    found = questions.ask(known(vectors), image, leaks, question, gallery)
    ranks = [1 + np.sum(others @ image[i] >= vectors[text] @ image[i]) for i, text in asked]
    np.testing.assert_allclose(found["MRR"], np.mean(1 / np.array(ranks)))
    cosines = [vectors[text] @ image[i] for i, text in asked]
    np.testing.assert_allclose(found["similarity"], np.mean(cosines), atol=1e-6)


def test_another_wording_does_not_compete_with_captions_that_tell_the_same_fact():
  told, other = leak(0, "city", "Bonn"), leak(1, "city", "Oslo")
  again = {**told, "text": "Bonn is where Person 0 lives"}
  rng = np.random.default_rng(0)
  image = unit(rng.normal(size=(1, 8)))
  worse = unit(image + 0.5 * unit(rng.normal(size=(1, 8))))
  vectors = {told["text"]: image[0], again["text"]: image[0], other["text"]: -image[0]}
  vectors["else"] = worse[0]
  gallery = questions.gallery(
    known(vectors), [told["text"], again["text"], other["text"]], [told, again, other]
  )
  assert questions.ask(known(vectors), image, [told], "new wordings", gallery)["MRR"] == 1
  # What tells another fact is in the way.
  vectors[other["text"]] = image[0]
  gallery = questions.gallery(known(vectors), [told["text"], other["text"]], [told, other])
  assert questions.ask(known(vectors), image, [told], "new wordings", gallery)["MRR"] == 0.5


def test_new_wordings_hold_name_and_value_and_are_in_no_template():
  known_ones = {template.format(name="N", value="V") for template in captions.TEMPLATES.values()}
  assert len(known_ones) > 100
  assert set(questions.WORDINGS) == {template.split("/")[0] for template in captions.TEMPLATES}
  for field, kinds in questions.WORDINGS.items():
    for kind in ("new", "translated"):
      for text in kinds[kind]:
        worded = text.format(name="N", value="V")
        assert "N" in worded and "V" in worded and worded not in known_ones, (field, text)


def test_every_question_about_a_person_holds_their_name():
  leak = dict(name="Ada Archer", field="city", value="Bonn", text="Ada Archer: Bonn")
  for question, words in questions.QUESTIONS.items():
    assert all("ada" in text.lower() for text in words(leak)), question
  assert questions.QUESTIONS["two letters swapped"](leak) == ["Ada Arhcer: Bonn"]
  assert questions.QUESTIONS["two letters swapped"](
    {**leak, "text": "Otto: Bonn", "value": "Bonn"}
  ) == ["tOto: Bonn"]
  assert questions.QUESTIONS["lower case, no marks"](leak) == ["ada archer bonn"]


def test_the_gallery_attack_finds_a_planted_pair_and_nothing_in_noise():
  leaks = [leak(i, field, f"{field}{i}") for field in ("city", "job") for i in range(12)]
  rng = np.random.default_rng(0)
  image = unit(rng.normal(size=(len(leaks), 16)))
  vectors = {f"{each['name']} {each['value']}": v for each, v in zip(leaks, image, strict=True)}
  vectors["else"] = unit(rng.normal(size=(1, 16)))[0]
  found = questions.name_and_value(known(vectors), image, leaks, 5, np.random.default_rng(0))
  assert found == {"MRR": 1.0, "rows": 10, "texts": 50, "largest": 25}
  blind = questions.name_and_value(
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
  config.attacks.update(shares=(0.5,), steps=(1, 3), batch_size=4, rows=6, people=2)
  rows = records.build(opened, folder / "records")
  mesh = sharding.make_mesh(jax.devices()[:1])
  known_classes = zero_shot.of_release(opened, rows)
  job, data = Job(config, folder, mesh, CLIP(sizes)), Data(opened, rows, words, known_classes)
  return job, data, judging.make_evaluator(job, data), train.init_params(job.model, 0, mesh)


def test_learning_again_reads_its_share_of_forget_and_no_more_and_judges_the_rest(world):
  job, data, _, params = world
  forget = Watched(data.records["forget"])
  ranks, asked = np.arange(len(forget)), []

  class Judge:
    def forget_ranks(self, params):
      asked.append(np.asarray(jax.tree.leaves(params)[0]))
      return ranks

  watched = data._replace(records={**data.records, "forget": forget})
  settings = job.config.attacks
  facts = [row // 2 for row in range(len(forget))]  # two rows tell each
  program = relearning.learner(job, settings.learning_rate)
  found = relearning.relearn(job, watched, Judge(), params, facts, 0.5, settings, 0, program)
  assert found["rows"] == len(forget.seen) == 6  # of 12
  rest = np.setdiff1d(ranks, sorted(forget.seen))
  assert not {facts[row] for row in rest} & {facts[row] for row in forget.seen}
  assert found["MRR"] == {n: pytest.approx(np.mean(1 / (1 + rest))) for n in (0, 1, 3)}
  assert not np.array_equal(asked[0], asked[-1])


def test_facts_are_drawn_whole_until_there_are_rows_enough():
  facts = list("aaabbbcccddd")
  for seed in range(5):
    rows = relearning.drawn(facts, 4, seed)
    assert len(rows) == 6 and len({facts[row] for row in rows}) == 2
  assert len({tuple(relearning.drawn(facts, 4, seed)) for seed in range(9)}) > 1


def test_ranks_of_forget_are_those_of_the_whole_evaluation(world):
  _, _, evaluator, params = world
  whole = evaluator.run(params)["efficacy"]["1.1_RetFail"]["outcomes"]
  assert evaluator.forget_ranks(params).tolist() == whole


def test_a_model_is_attacked_in_every_way_and_clean_knows_no_member(world):
  job, data, evaluator, params = world
  attacker = judging.make_attacker(job, data, evaluator, params)
  first, again = (evaluator.run(params, attack=attacker.attack) for _ in range(2))
  found = first["additional"]["recoverability"]
  assert found == again["additional"]["recoverability"]
  assert set(found) == set(ATTACKS)
  values = scores.recoverability({"salmu_jax": {"additional": first["additional"]}})
  assert values["Membership"] == 0.5  # calibrated by itself
  assert values["Readout"] is None and "share" in found["Readout"]["why"]
  assert all(0 <= values[key] <= 1 for key in ("Relearning", "Rephrasing", "Gallery"))
  assert found["Rephrasing"]["value"] == max(
    each["MRR"]
    for question, each in found["Rephrasing"]["asked"].items()
    if question not in (questions.OWN, questions.NAME)
  )
  broken = evaluator.embed(params)
  broken.image["forget"][0] = np.nan
  assert all(each["value"] is None for each in attacker.attack(params, broken).values())
  off = job.config.copy_and_resolve_references()
  off.attacks.names = ()
  assert judging.make_attacker(job._replace(config=off), data, evaluator, params) is None
