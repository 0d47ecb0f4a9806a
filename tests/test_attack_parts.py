"""What attacks are made of, on planted answers and against loops."""

import jax
import numpy as np
import pytest
from planted import embedder, leak_of, unit

from salmu_jax.attacks import (
  gallery,
  membership,
  quantisation,
  questions,
  readout,
  relearning,
)
from salmu_jax.data.leaks import Leak
from salmu_jax.generate import captions
from salmu_jax.results import bootstrap


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
  np.testing.assert_allclose(below["auc"], 1 - above["auc"])
  assert below["tpr"] == above["tpr"]
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


def test_the_interval_of_membership_is_that_of_people_drawn_again():
  rng = np.random.default_rng(0)
  people = np.repeat([f"{i}" for i in range(8)], 5)
  own, changed = rng.normal(0.5, 1, 40).round(1), rng.normal(0, 1, 40).round(1)
  low, high = membership.auc_interval(own, changed, people)
  weights = bootstrap.draw(8, np.random.default_rng(0)).astype(int)[:300]
  aucs = []
  for drawn in weights:
    rows = np.concatenate(
      [np.repeat(np.flatnonzero(people == f"{i}"), n) for i, n in enumerate(drawn)]
    )
    aucs.append(membership.separation(own[rows], changed[rows])["auc"])
  np.testing.assert_allclose([low, high], np.percentile(aucs, bootstrap.ENDS), atol=0.03)
  assert low < membership.separation(own, changed)["auc"] < high
  assert membership.auc_interval(own[:20], changed[:20], people[:20]) is None  # four people


def test_a_question_asks_for_the_value_and_for_the_name_among_the_same_text_with_others():
  leaks = [leak_of(i, "city", city) for i, city in enumerate(("Bonn", "Oslo", "Rome", "Bonn"))]
  leaks += [leak_of(4, "job", "nurse")]  # no other value of this field
  leaks += [leak_of(5, "city", "Lima", "nothing of {name}")]
  others = questions.rivals(leaks, 2, np.random.default_rng(0))
  for question, words in questions.QUESTIONS.items():
    asked = questions.for_values(question, leaks, others)
    if question == questions.NAME:
      assert not asked
      continue
    assert {each.row for each in asked} == {0, 1, 2, 3}
    for each in asked:
      leak = leaks[each.row]
      assert each.texts[0] in words(leak) and len(each.texts) == 3
      for text, value in zip(each.texts[1:], others[each.row].values, strict=True):
        assert text in words(leak._replace(value=value, text=leak.text.replace(leak.value, value)))
  (first, *_) = questions.for_names(questions.NAME, leaks, others)
  assert first.texts == [leaks[0].name, *others[0].names]


def test_answers_to_questions_are_those_of_a_loop():
  rng = np.random.default_rng(0)
  leaks = [leak_of(i, "city", city) for i, city in enumerate(("Bonn", "Oslo", "Rome", "Lima"))]
  image = unit(rng.normal(size=(4, 6)))
  asked = questions.for_values("translated", leaks, questions.rivals(leaks, 3, rng))
  texts = sorted({text for each in asked for text in each.texts})
  vectors = dict(zip(texts, unit(rng.normal(size=(len(texts), 6))), strict=True))
  answers = questions.ask(embedder(vectors), image, asked)
  expected = []
  for each in asked:
    true, *rest = (vectors[text] @ image[each.row] for text in each.texts)
    expected.append(1 / (1 + sum(other > true for other in rest)))
  np.testing.assert_allclose(answers.reciprocal_rank, expected, rtol=1e-6)
  assert questions.ask(embedder(vectors), image, []) is None


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_quantised_weights_are_the_nearest_of_few_steps_of_each_output_channel(bits):
  rng = np.random.default_rng(0)
  params = {"kernel": rng.normal(size=(6, 3)).astype(np.float32), "bias": np.ones(3, np.float32)}
  params["kernel"][:, 2] = 0
  rounded = jax.device_get(quantisation.quantised(params, bits))
  np.testing.assert_array_equal(rounded["bias"], params["bias"])
  for column in range(3):
    own = params["kernel"][:, column].astype(np.float64)
    scale = np.abs(own).max() / (2 ** (bits - 1) - 1)
    steps = np.arange(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1)) * scale
    nearest = steps[np.argmin(np.abs(own[:, None] - steps), axis=1)]
    np.testing.assert_allclose(rounded["kernel"][:, column], nearest, atol=1e-6)


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


def test_facts_are_drawn_whole_until_there_are_rows_enough():
  facts = list("aaabbbcccddd")
  for seed in range(5):
    rows = relearning.draw_rows(facts, 4, seed)
    assert len(rows) == 6 and len({facts[row] for row in rows}) == 2
  assert len({tuple(relearning.draw_rows(facts, 4, seed)) for seed in range(9)}) > 1
