"""The study of the baselines: its runs against the trainer's, its cut, its choice."""

import functools
import itertools

import jax
import numpy as np
import optax
import pytest
from handmade import write
from little import STAND_IN, optimizer_settings, sgd_settings
from methodruns import BATCHES, MEASURED, ONE, PARAMS, STEPS, Run, make, whole_run

from experiments.baselines import cut, space, study
from experiments.unlearning import make_unlearner, unlearn
from salmu_jax import defaults, train
from salmu_jax.benchmark import opening
from salmu_jax.benchmark.job import Job
from salmu_jax.data import records, releases, tokenizers
from salmu_jax.data.dataset import Data
from salmu_jax.methods import MAKERS, METHODS, base
from salmu_jax.models.clip import CLIP, Embeddings, Sizes, Tower
from salmu_jax.runtime import files
from salmu_jax.train import optimizers


def unlearner_of(name, settings):
  run = defaults.unlearning_run(name, batch_size=4)
  run.optimizer = settings
  return make_unlearner(functools.partial(make, name), run, STAND_IN, ONE)


def run(unlearner, settings, steps):
  return unlearn(unlearner, PARAMS, settings, BATCHES, steps, lambda: MEASURED)


@pytest.mark.parametrize("name", METHODS)
def test_the_studys_runs_end_with_the_bits_of_the_trainers(name):
  ours = run(unlearner_of(name, sgd_settings()), sgd_settings(), STEPS)
  _, theirs, _ = whole_run(name)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs.params)


@pytest.mark.parametrize(
  "name, optimizer, lengths",
  [
    ("grad_diff", "adamw", (4, 4, 2)),
    ("anchored", "muon", (4, 3)),
    ("salun", "sgd", (4, 2)),
    ("negmerge", "adamw", (4, 4)),  # its legs depend on the length, and so does its program
  ],
)
def test_runs_of_several_rates_and_lengths_share_one_compilation_and_keep_the_trainers_bits(
  name, optimizer, lengths, monkeypatch
):
  made, jitted = [], train.jitted_unlearn_step
  keep = lambda *args, **more: made.append(jitted(*args, **more)) or made[-1]
  monkeypatch.setattr(train, "jitted_unlearn_step", keep)
  start = optimizer_settings(1.0)
  start.name = optimizer
  unlearner = unlearner_of(name, start)
  for rate, steps in zip((1e-2, 1e-3, 3e-3), lengths, strict=False):
    settings = optimizers.settings(rate, name=optimizer, warmup=0.3 * steps / 4)
    alone = Run(name, ONE, settings=settings, steps=steps)
    theirs, _ = alone.walk(alone.start, BATCHES[:steps])
    ours = run(unlearner, settings, steps)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs.params)
  assert made[0]._cache_size() == 1  # the others are the trainer's


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
  folder = tmp_path_factory.mktemp("baselines")
  opened = releases.open_release(write(folder / "release"))
  words = tokenizers.compact_tokenizer(16, ["a picture of a thing"])
  sizes = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), 16, words.vocab_size)
  rows = records.build(opened, folder / "records")
  return Job(defaults.get_config(), folder, folder, ONE, CLIP(sizes)), Data(opened, rows, words)


def names(rows):
  return {rows[i]["file_name"] for i in range(len(rows))}


def test_the_cut_of_stored_pictures_is_that_of_the_records(setup):
  job, data = setup
  plain, stored = (cut.make(job, rows, 0) for rows in (data, opening.store_pictures(job, data)))
  for part in ("forget", "spared", "retain"):
    assert getattr(plain, part).text == getattr(stored, part).text
    np.testing.assert_array_equal(getattr(plain, part).image, getattr(stored, part).image)


def test_the_cut_opens_forget_and_retain_alone_and_parts_people_and_rows(setup):
  job, data = setup
  readable = {"forget", *data.splits("retain")}
  # Without the others there, reading one would be a KeyError.
  part = cut.make(job, data._replace(records={s: data.records[s] for s in readable}), seed=0)
  assert set(part.records) == readable
  identity = dict(
    zip(
      *(releases.columns(data.release, "forget")[k] for k in ("file_name", "identity_id")),
      strict=True,
    )
  )
  tuned = {name.decode() for name in names(part.records["forget"])}
  people = {identity[name] for name in tuned}
  assert len(people) == round(0.75 * len(set(identity.values())))
  assert {identity[name] for name in identity if name not in tuned} == set(
    identity.values()
  ) - people
  assert len(part.forget.text) == len(tuned) and len(part.spared.text) == len(identity) - len(tuned)
  for split in data.splits("retain"):
    assert len(part.records[split]) == round(0.9 * len(data.records[split]))
  whole = sum(len(data.records[split]) for split in data.splits("retain"))
  assert len(part.retain.text) == whole - sum(len(part.records[s]) for s in data.splits("retain"))


def test_the_cut_is_the_same_for_the_same_seed_and_another_for_another(setup):
  draws = [names(cut.make(*setup, seed).records["forget"]) for seed in (0, 0, 1, 2)]
  assert draws[0] == draws[1] and (draws[2] != draws[0] or draws[3] != draws[0])


def pairs(*texts):
  """Pictures and tokens that carry the number of their row."""
  rows = np.arange(len(texts))
  return cut.Pairs(
    np.broadcast_to(rows[:, None, None, None], (len(texts), 2, 2, 3)), rows[:, None], list(texts)
  )


CUT = cut.Cut({}, pairs("a", "b", "c"), pairs("x"), pairs("p", "q", "p"))


def embed_by(image_of, text_of):
  eye = np.eye(4, dtype=np.float32)

  def embed(half):
    image, text = half["image"][:, 0, 0, 0], half["text"][:, 0]
    return Embeddings(eye[image_of(image)], eye[text_of(text)], np.float32(1.0))

  return embed


def test_a_model_that_matches_everything_leaks_and_keeps_all_and_a_collapsed_one_nothing():
  perfect = cut.measure(embed_by(lambda i: i, lambda i: i), CUT)
  assert perfect["forget"] == perfect["spared"] == perfect["retain"] == 1.0
  # Forget and retain captions of one number are one point here, and ties rank above: 1/2, 1/2, and
  # 1.
  assert perfect["leak"] == pytest.approx((1 / 2 + 1 / 2 + 1) / 3)
  collapsed = cut.measure(embed_by(lambda i: 0 * i, lambda i: 0 * i), CUT)
  assert collapsed["kept"] == pytest.approx(1 / 2)  # the other of two distinct captions ranks above
  assert collapsed["leak"] == pytest.approx(1 / 5)


START = {"leak": 0.4, "kept": 0.5}


def trial(removed, kept, rate=1e-4):
  return {"learning_rate": rate, "leak": 0.4 * (1 - removed), "kept": 0.5 * kept}


@pytest.mark.parametrize(
  ("trials", "best"),
  [
    ([trial(0.5, 1.0), trial(0.9, 0.85)], 1),  # forgetting first
    ([trial(0.5, 1.0), trial(0.9, 0.45)], 0),  # but not below the floor of retain
    ([trial(0.992, 0.9), trial(0.999, 0.85)], 0),  # beyond the target what is kept decides
    ([trial(0.99, 0.3), trial(0.4, 0.4)], 1),  # none keeps enough: the most kept
    ([trial(0.5, 0.9), trial(0.5, 0.9)], 0),  # the first of equals
  ],
)
def test_the_choice_is_forgetting_first_above_a_floor_of_retain(trials, best):
  assert study.chosen(trials, START) is trials[best]


class FakeStudy:
  """Answers a search with trials made up by learning rate and argument."""

  start = START

  def __init__(self, answer):
    self.answer, self.calls = answer, []

  def train(self, name, settings, *, on_cut):
    assert on_cut
    self.calls.append((settings.optimizer.learning_rate, settings.args.to_dict()))
    return self.calls[-1], 1

  def measure(self, params):
    removed, kept = self.answer(*params)
    return {
      "forget": 0.0,
      "spared": 0.0,
      "retain": 0.0,
      **{k: v for k, v in trial(removed, kept).items() if k != "learning_rate"},
    }


def test_the_search_goes_up_until_past_the_best_then_tries_the_knob_there():
  fake = FakeStudy(lambda rate, args: (min(1.0, rate * 1e4), 1.0 if rate < 2e-4 else 0.3))
  trials = study.search(fake, "npo")
  assert fake.calls == [
    *((rate, {}) for rate in space.RATES[:4]), (1e-4, {"beta": 0.01}), (1e-4, {"beta": 1.0})
  ]  # fmt: skip
  assert [t["args"] for t in trials] == [args for _, args in fake.calls]


def test_lower_rates_are_tried_where_the_lowest_is_the_best_as_long_as_they_help():
  fake = FakeStudy(lambda rate, args: (0.9, 0.4 if rate > 3e-6 else 0.9))
  study.search(fake, "finetune")
  assert [rate for rate, _ in fake.calls] == [*space.RATES, 3e-6, 1e-6]
  fake = FakeStudy(lambda rate, args: (0.9, 0.4 if rate > 1e-5 or rate < 5e-6 else 0.9))
  study.search(fake, "finetune")
  assert [rate for rate, _ in fake.calls][-1] == 3e-6


def test_recorded_trials_are_not_run_again():
  fake = FakeStudy(lambda rate, args: (0.1, 1.0))
  first = study.search(fake, "npo")
  fake.calls.clear()
  assert study.search(fake, "npo", first) == first and not fake.calls
  study.search(fake, "npo", first[1:])
  assert fake.calls == [(space.RATES[0], {})]


def test_a_method_without_a_knob_or_a_learning_rate_searches_what_it_has():
  fake = FakeStudy(lambda rate, args: (100 * rate, 1.0))
  study.search(fake, "finetune")
  assert fake.calls == [(rate, {}) for rate in space.RATES]
  fake.calls.clear()
  study.search(fake, "ssd")
  assert fake.calls == [
    (space.RATES[0], {}),
    *((space.RATES[0], {"alpha": a}) for a in space.KNOBS["ssd"][1]),
  ]


def test_every_method_has_its_place_in_the_space_and_its_knob_is_an_argument_in_range():
  assert set(space.KNOBS) == set(METHODS)
  for name, knob in space.KNOBS.items():
    for value in itertools.chain(knob[1] if knob else ()):
      settings = study.mini_settings(name, 1e-4, {knob[0]: value})
      base.build(MAKERS[name], optax.sgd(1.0), settings.args.to_dict(), steps=40, seed=0)


class _JudgedFake(FakeStudy):
  """A FakeStudy that judges whatever it trained, and counts how often."""

  def __init__(self):
    super().__init__(lambda rate, args: (100 * rate, 1.0))
    self.judged = 0

  def train(self, name, settings, *, on_cut):
    return super().train(name, settings, on_cut=True)

  def judge(self, params):
    self.judged += 1
    if self.judged > 2:
      raise KeyboardInterrupt
    return {}


def test_a_killed_study_keeps_its_trials_for_the_same_compromised_and_not_for_another(
  tmp_path, monkeypatch
):
  fake = _JudgedFake()
  monkeypatch.setattr(study, "RESULTS", tmp_path)
  monkeypatch.setattr(study, "Study", lambda *folders: fake)
  monkeypatch.setattr(study, "bounds", lambda study: {})
  command = [str(tmp_path), "finetune"]
  with pytest.raises(KeyboardInterrupt):
    study.main(command)
  record = files.read_json(tmp_path / "finetune.json")
  assert len(record["trials"]) == len(space.RATES) and "tuned" not in record
  fake.calls, fake.judged = [], -10
  study.main([*command, "--search"])
  assert not fake.calls
  study.main(command)
  assert len(fake.calls) == len(space.BUDGETS)
  assert {*files.read_json(tmp_path / "finetune.json")["tuned"]} == {"1", "2", "5", "10"}
  fake.calls = []
  study.main(command)
  assert not fake.calls
  fake.start = {**START, "leak": 0.5}
  study.main(["--search", *command])
  assert len(fake.calls) == len(space.RATES)
