"""Surrogate captions: what they are made of, and what they never are."""

import re

import grain
import numpy as np
import pytest
from handmade import FIELDS, write

from salmu_jax.data import images, pipeline, releases
from salmu_jax.data.dataset import Data
from salmu_jax.data.leaks import Leak, leak_of
from salmu_jax.errors import InputError
from salmu_jax.generate import captions, personas
from salmu_jax.methods import batches, surrogates
from salmu_jax.methods.base import Surrogates


def leak(name, field, value, wording="{name}: {value}"):
  return Leak(name, field, value, wording.format(name=name, value=value), identity=name)


# Ada is to be forgotten whole, Ben and Cleo in part.
LEAKS = [
  leak("Ada Archer", "city", "Bonn"),
  leak("Ada Archer", "job", "nurse"),
  leak("Ada Archer", "iban", "XK11 2222"),
  leak("Ben Baker", "city", "Oslo", "{value} is where {name} lives"),
  leak("Cleo Dean", "job", "miner", "Ask {name}, the {value}"),
  leak("Cleo Dean", "iban", "XK33 4444"),
]
FORGOTTEN = {(leak.name, leak.field) for leak in LEAKS}


def drawn(source, which=LEAKS, count=400, leaks=LEAKS, seed=0):
  draw = surrogates.maker(leaks, source, seed).near
  rng = np.random.default_rng(1)
  return [text for leak in which for text in draw(leak, count // len(which), rng)]


@pytest.mark.parametrize("source", surrogates.SOURCES)
def test_no_surrogate_is_of_a_person_and_a_field_of_theirs_that_is_to_be_forgotten(source):
  fields = {leak.value: leak.field for leak in LEAKS}
  people = surrogates._generated(0)
  fields |= {value: f for f, values in people.values.items() for value in values}
  names = {name for name, _ in FORGOTTEN}
  facts = set()
  for text in drawn(source, count=1200):
    name = next((name for name in names if name in text), None)
    value = max((value for value in fields if value in text), key=len)
    facts.add((name, fields[value]))
    assert (name, fields[value]) not in FORGOTTEN, text
  # Other fields of the same people, and other people, are there.
  assert {("Ben Baker", "job"), ("Ben Baker", "iban"), ("Cleo Dean", "city")} <= facts
  assert {(None, "city"), (None, "job"), (None, "iban")} <= facts


def test_half_are_of_the_person_where_something_of_theirs_stays_and_none_where_nothing_does():
  partly = [text for text in drawn("both", [LEAKS[3]], 1000) if "Ben Baker" in text]
  assert 430 < len(partly) < 570 and all("lives" not in text for text in partly)
  assert not any("Ada Archer" in text for text in drawn("recombined", [LEAKS[0]], 300))


def test_recombined_ones_hold_forget_wordings_whatever_they_are_and_pieces_of_forget_names_alone():
  odd = [
    leak(f"Zoë{k} O'Neil{k}", "city", f"Żyrardów{k}", "Wo ist {name}? In {value}!")
    for k in range(3)
  ]
  for text in drawn("recombined", odd, leaks=odd):
    assert (
      text.startswith("Wo ist Zoë") and "Żyrardów" in text and text not in {o.text for o in odd}
    )


def test_a_caption_that_does_not_hold_name_or_value_in_full_lends_its_wording_to_none():
  hidden = Leak("Ada Archer", "job", "nurse", "Ms Archer tends to the sick", "Ada Archer")
  for text in drawn("recombined", [hidden], leaks=[*LEAKS, hidden]):
    assert "tends" not in text


def test_generated_ones_are_templates_filled_with_people_of_another_seed_than_the_releases():
  own = {person.facts["iban"] for person in personas.people(0, 160)}
  people = surrogates._generated(0)
  assert not own & set(people.values["iban"])
  wordings = [w for key, w in captions.TEMPLATES.items() if key.startswith("iban/")]
  starts = tuple(w.split("{")[0] for w in wordings)
  assert all(
    text.startswith(starts) for text in drawn("generated", [LEAKS[5]]) if "Cleo" not in text
  )


def test_the_same_generator_draws_the_same_surrogates_and_another_seed_other_people():
  assert drawn("both") == drawn("both")
  assert drawn("generated") != drawn("generated", seed=1)


# Two people of one name, and captions of theirs without it.
SHARED = [
  Leak("Ada Archer", "city", "Bonn", "Ada Archer: Bonn", "1"),
  Leak("Ada Archer", "iban", "XK11 2222", "an account: XK11 2222", "1"),
  Leak("Ada Archer", "city", "Oslo", "somebody lives in Oslo", "2"),
  Leak("Ben Baker", "blood_type", "O+", "Ben Baker has O+", "3"),
]


@pytest.mark.parametrize("source", ["generated", "both"])
def test_where_a_name_does_not_say_who_is_meant_no_surrogate_has_a_value_of_forget(source):
  for text in drawn(source, SHARED, leaks=SHARED):
    assert not any(leak.value in re.findall(r"[\w+-]+|XK11 2222", text) for leak in SHARED), text


@pytest.mark.parametrize("source", ["generated", "both"])
def test_surrogates_of_captions_without_a_name_have_none_and_tell_its_field_or_another(source):
  texts = drawn(source, [SHARED[2]], leaks=SHARED)
  cities = surrogates._generated(0).values["city"]
  assert not any("Ada" in text or "Archer" in text or "{" in text for text in texts)
  assert 0.4 < np.mean([any(city in text for city in cities) for text in texts]) < 0.8
  same_words = np.mean([text.startswith("somebody lives in ") for text in texts])
  assert same_words == 0 if source == "generated" else 0.15 < same_words < 0.5


def test_all_fields_of_a_shared_name_stay_with_other_values():
  texts = [text for text in drawn("both", [SHARED[0]], leaks=SHARED) if "Ada Archer" in text]
  cities = [text for text in texts if text.startswith("Ada Archer: ")]
  assert len(texts) > 100 and any("XB" in text or "@" in text for text in texts)
  assert all(text != SHARED[0].text for text in cities)


def test_other_fields_stand_in_for_one_all_of_whose_values_are_told():
  blood = surrogates._generated(0).values["blood_type"]
  told = [Leak("Ben Baker", "blood_type", b, f"type {b}", b) for b in sorted(set(blood))]
  assert drawn("generated", told, leaks=told)
  assert not any(text.split()[-1] in blood for text in drawn("generated", told, leaks=told))


@pytest.mark.parametrize(
  ("source", "leaks", "message"),
  [
    ("made up", LEAKS, "source: unknown name 'made up'. Known: recombined, generated, both"),
    ("generated", [leak("Ada Archer", "shoe size", "43")], "no wordings for the field 'shoe size'"),
    (
      "recombined",
      SHARED,
      "surrogates need values that are not in forget, and this source has none",
    ),
    (
      "recombined",
      [Leak("Ada Archer", "job", "nurse", "she helps", "1")],
      "no wordings for the field 'job'",
    ),
  ],
)
def test_what_cannot_be_made_is_refused_with_the_reason(source, leaks, message):
  with pytest.raises(InputError, match=message):
    surrogates.maker(leaks, source, 0)


def test_names_that_cannot_be_recombined_are_refused_with_the_reason():
  draw = surrogates.maker([LEAKS[0]], "recombined", 0).near
  with pytest.raises(InputError, match="tries found no name outside forget"):
    draw(LEAKS[0], 1, np.random.default_rng(0))


def _rename(text):
  """The text with two names of their own for each person, so that no mixture is anybody's."""
  return re.sub(r"Person (\d)", lambda digit: f"Given{digit[1]} Family{digit[1]}", text)


def _named(row):
  return {**row, "text": _rename(row["text"])}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
  """A release whose holdouts have names and values that are found in no other place."""
  folder = tmp_path_factory.mktemp("surrogates")
  opened = releases.open_release(write(folder / "release"))
  rows = {
    split: list(releases.rows(opened, split)) for split in ("forget", "retain_synth", "retain_real")
  }
  rows = {
    split: [
      {k: v.encode() if isinstance(v, str) else v for k, v in _named(row).items()}
      for row in members
    ]
    for split, members in rows.items()
  }
  people = {key: {**row, "name": _rename(row["name"])} for key, row in opened.identities.items()}
  opened = opened._replace(identities=people)
  return Data(opened, rows, None)


def test_planted_holdout_names_and_facts_are_never_used_and_their_rows_and_metadata_never_opened(
  data,
):
  table = data.release.identities
  held_out = {f"{p:08d}" for p in (4, 5)}  # in no row of forget
  held_facts = {f"v{p}{i}" for p in (2, 3) for i in (2, 3)} | {
    f"v{p}{i}" for p in (4, 5) for i in range(4)
  }

  class Guarded(dict):
    def __getitem__(self, key):
      if key in held_out or key in ("iban",):
        raise AssertionError(f"opened {key}")
      return super().__getitem__(key)

  people = Guarded(
    {
      identity: Guarded({**row, "name": f"Zzyzx Q{identity}"} if identity in held_out else row)
      for identity, row in table.items()
    }
  )
  # `records` holds no holdout split: asking for one would be a KeyError.
  guarded = data._replace(release=data.release._replace(identities=people))
  draw = batches.surrogate_captions(guarded, Surrogates(50, "recombined", 0.0), 0)["surrogates"]
  texts = [t for row in data.records["forget"] for t in draw(row, np.random.default_rng(0))]
  assert len(texts) == 50 * len(data.records["forget"])
  assert not any("Zzyzx" in text for text in texts)
  assert not any(fact in text.split() for text in texts for fact in held_facts)


def test_of_several_values_the_one_in_the_caption_is_the_leak(data):
  people = {"1": {"name": "Ada Archer", "emails": ["a@b.example", "aa@b.example"]}}
  opened = data.release._replace(identities=people, captions={"f": {"data_field": "emails"}})
  row = {"file_name": "f", "identity_id": "1", "text": "Ada Archer, aa@b.example"}
  assert leak_of(opened, row) == Leak("Ada Archer", "emails", "aa@b.example", row["text"], "1")


def test_surrogates_come_with_their_row_and_leave_the_draws_of_the_picture_alone(monkeypatch):
  monkeypatch.setattr(images, "decode", lambda *_: None)
  monkeypatch.setattr(images, "random_crop", lambda image, size, rng, **_: np.float64(rng.random()))
  rows = [{"image": b"", "file_name": str(n), "text": str(n)} for n in range(8)]
  words = lambda texts: np.array([[int(text)] for text in texts])
  rewordings = lambda row, rng: [row["text"], str(int(row["text"]) + 100 * int(rng.integers(1, 9)))]
  options = dict(image_size=16, seed=3)
  plain = pipeline.training_examples(grain.MapDataset.source(rows), words, **options)
  with_them = pipeline.training_examples(
    grain.MapDataset.source(rows), words, **options, surrogates=rewordings
  )
  for k in range(16):
    a, b = plain[k], with_them[k]
    assert (a["image"], a["text"]) == (b["image"], b["text"]) and "surrogate" not in a
    assert b["surrogate"].shape == (2, 1)
    assert b["surrogate"][0] == b["text"] and b["surrogate"][1] % 100 == b["text"]


def test_the_fields_of_the_hand_made_release_are_those_that_the_planted_test_counts_on():
  assert FIELDS == ("city", "job", "phone_number", "emails")


def test_loosened_words_keep_name_and_value_whole_and_vary_the_rest():
  maker = surrogates.maker(LEAKS, "both", 0, reworded=1.0)
  rng = np.random.default_rng(0)
  wordings = {maker.reworded(LEAKS[0], rng) for _ in range(100)}
  assert len(wordings) > 60 and all("Ada Archer" in text and "Bonn" in text for text in wordings)
  near = [text for _ in range(50) for text in maker.near(LEAKS[4], 6, rng)]
  assert sum("Cleo Dean" in text for text in near) > 100
  assert not any("Cleo Dean" in text and "miner" in text for text in near)


def test_the_share_that_is_reworded_is_that_and_none_of_it_changes_a_draw():
  rng = np.random.default_rng(0)
  half = surrogates.maker(LEAKS, "both", 0, reworded=0.5)
  own = sum(half.reworded(LEAKS[0], rng) == LEAKS[0].text for _ in range(400))
  assert 150 < own < 250
  a, b = np.random.default_rng(2), np.random.default_rng(2)
  assert surrogates.maker(LEAKS, "both", 0).reworded(LEAKS[0], a) == LEAKS[0].text
  assert a.random() == b.random()


def test_captions_of_name_and_value_alone_are_loosened_to_just_these():
  bare = [
    leak("Ada Archer", "iban", "XK11", "{name} {value}"),
    leak("Ben Baker", "iban", "XK22", "{value} {name}"),
  ]
  maker, rng = surrogates.maker(bare, "recombined", 0, reworded=1.0), np.random.default_rng(0)
  for fact in bare:
    wording = maker.reworded(fact, rng)
    assert sorted(wording.split()) == sorted(fact.text.split())
