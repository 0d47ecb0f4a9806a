"""What would stop a stage later is refused before any training, with the field and the reason."""

import contextlib
import errno
import os
import tempfile

import littlejob
import pytest
from handmade import row, splits, write
from littlejob import changed, finished_model

from salmu_jax import defaults
from salmu_jax.benchmark import preflight, run, stages
from salmu_jax.data import dataset, releases
from salmu_jax.errors import InputError
from salmu_jax.runtime import files


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return littlejob.make(tmp_path_factory.mktemp("preflight"))


def check(job, data):
  preflight.check(job, data.release, data.tokenizer, data.digests)


def with_counts(data, counts):
  return data._replace(release=data.release._replace(counts=counts))


def test_a_method_runs_without_retain_rows_only_if_it_reads_none(world):
  job, data = changed(world[0]), world[1]
  counts = data.release.counts
  bare = with_counts(data, {split: n for split, n in counts.items() if "retain" not in split})
  for name in ("grad_diff", "delete"):
    job.config.unlearn[name] = defaults.unlearning_run(name, batch_size=4, budget=1.0)
  run = job.config.unlearn.delete
  with contextlib.closing(stages.unlearning_batches(job, bare, run)) as stream:
    assert set(next(stream)) == {"forget"}
  preflight.check_unlearning(job, bare.release, "delete")
  with pytest.raises(
    InputError, match=r"unlearn\.grad_diff needs rows of retain, but the release has none"
  ):
    preflight.check_unlearning(job, bare.release, "grad_diff")


def test_a_release_that_no_surrogates_can_be_made_of_is_refused_before_training(world):
  job, release = changed(world[0]), world[1].release
  settings = defaults.unlearning_run("anchored", batch_size=4, args=dict(source="generated"))
  job.config.unlearn = {"anchored": settings}
  captions = {k: {**v, "data_field": "emails"} for k, v in release.captions.items()}
  people = {k: {**v, "shoe_size": "43"} for k, v in release.identities.items()}
  captions[next(iter(captions))]["data_field"] = "shoe_size"
  odd = release._replace(captions=captions, identities=people)
  with pytest.raises(InputError, match="no wordings for the field 'shoe_size'"):
    preflight.check_unlearning(job, odd, "anchored")


@pytest.mark.parametrize(
  "other, alike", [("a  FACT of Ana", True), ("a fact of Ana\u200b", True), ("another", False)]
)
def test_pairs_to_forget_of_one_caption_alone_are_refused(other, alike, tmp_path):
  rows = [{**line, "text": "a fact of Ana"} for line in splits()["forget"]]
  rows[5]["text"] = other
  release = releases.open_release(write(tmp_path / "r", {"forget": rows}))
  config = defaults.get_config()
  if not alike:
    preflight.check_captions(config, release)
    return
  with pytest.raises(InputError, match=r"of .*/r has the same caption, 'a fact of Ana', in all"):
    preflight.check_captions(config, release)
  config.forget = "mine.jsonl"
  with pytest.raises(InputError, match=r"config\.forget = 'mine\.jsonl' has the same caption"):
    preflight.check_captions(config, release)


def test_a_release_without_rows_to_forget_is_refused_as_such(world):
  job, data = changed(world[0]), world[1]
  preflight.check_captions(job.config, data.release._replace(shards={}))
  job.config.unlearn.mine.method = "finetune"
  empty = with_counts(data, {**data.release.counts, "forget": 0})
  with pytest.raises(InputError, match=r"mine needs rows of forget, but the release has none"):
    preflight.check_unlearning(job, empty.release, "mine")


@pytest.mark.parametrize("split", ["sensitive", "retain_real"])
def test_a_training_split_without_rows_is_as_good_as_missing(world, split):
  _, data = world
  empty = with_counts(data, {**data.release.counts, split: 0})
  preflight.check_trainable(data.release, "compromised")
  with pytest.raises(InputError, match=f"has no split .*{split}.*cannot be trained"):
    preflight.check_trainable(empty.release, "compromised")


def test_a_run_whose_release_lost_its_fragile_set_is_not_finished(world, monkeypatch):
  job, data = world
  monkeypatch.setattr(run.evaluation, "is_evaluated", lambda *_: True)
  monkeypatch.setattr(run.evaluation, "is_exported", lambda *_: True)
  monkeypatch.setattr(run.writing, "is_current", lambda *_: True)
  monkeypatch.setattr(run.releases, "read_fragile", lambda release: ["a"])
  assert run._is_finished(job, data)
  monkeypatch.setattr(run.releases, "read_fragile", lambda release: None)
  assert not run._is_finished(job, data)


def test_a_judged_model_unlearned_from_another_compromised_is_refused_at_once(world, tmp_path):
  job, data = changed(world[0]), world[1]
  finished_model(tmp_path, job, data.tokenizer)
  path = tmp_path / "settings.json"
  settings = files.read_json(path)
  job.config.judge.update(name="theirs", weights=str(tmp_path))
  for start in (None, stages.start_digest(job, data.digests)):
    files.write_json(path, {**settings, "start": start})
    preflight.check_judged_start(job, data.digests)
  files.write_json(path, {**settings, "start": "another"})
  with pytest.raises(InputError, match=r"config\.judge\.weights .* a different Compromised"):
    preflight.check_judged_start(job, data.digests)


def test_learning_again_what_leaves_no_forget_row_to_look_at_is_refused(world):
  job, data = changed(world[0]), world[1]
  job.config.unlearn, job.config.pretrain.batch_size = {}, 2
  attacks = job.config.attacks
  attacks.names, attacks.relearning.batch_size = ("Relearning",), 12
  few = job._replace(workdir=job.workdir / "attacked")
  with pytest.raises(InputError, match="would relearn 12 of the 12 rows of forget"):
    check(few, data)
  attacks.relearning.batch_size = 16
  with pytest.raises(
    InputError, match=r"config\.attacks\.relearning\.batch_size = 16 is larger than the 12 rows"
  ):
    check(few, data)
  attacks.relearning.update(batch_size=4, shares=(0.5,))
  check(few, data)


def test_a_batch_larger_than_either_half_of_the_data_is_refused(world):
  job, data = changed(world[0]), world[1]
  job.config.unlearn.mine.method = "finetune"
  job.config.pretrain.batch_size = 2
  few = job._replace(workdir=job.workdir / "elsewhere")
  check(few, data)
  short = with_counts(data, {**data.release.counts, "retain_real": 1, "retain_synth": 2})
  with pytest.raises(InputError, match=r"batch_size = 4 is larger than the 3 rows of retain"):
    check(few, short)


def test_a_single_pair_is_refused_as_such():
  with pytest.raises(InputError, match=r"which has 1 row.*at least two"):
    dataset.check_rows("config.unlearn.mine", 2, "forget", 1)


def test_a_batch_larger_than_the_data_is_refused_before_anything_is_trained():
  with pytest.raises(InputError, match=r"unlearn\.mine\.batch_size = 13 .* the 12 rows"):
    dataset.check_rows("config.unlearn.mine", 13, "forget", 12)
  dataset.check_rows("config.unlearn.mine", 12, "forget", 12)


def test_a_budget_or_epochs_of_no_step_are_refused_with_the_least_that_makes_one():
  match = r"budget = 1e-09 makes no step: one batch of 4 is 0\.333 of a pass over 12 rows\. Choose"
  with pytest.raises(InputError, match=match):
    preflight.check_passes("config.unlearn.mine.budget", 1e-9, 4, 12)
  preflight.check_passes("config.unlearn.mine.budget", 4 / 12, 4, 12)


def test_a_release_that_no_fragile_set_can_be_written_to_is_refused_before_training(
  tmp_path, monkeypatch
):
  config, release = defaults.get_config(), releases.open_release(write(tmp_path / "r"))
  listed = sorted(release.path.iterdir())
  preflight.check_fragile(config, release)
  assert sorted(release.path.iterdir()) == listed

  def refuse(suffix, prefix, folder):
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))

  monkeypatch.setattr(tempfile, "mkstemp", refuse)
  with pytest.raises(InputError, match=r"The release .* is not writable.*Read-only.*copy the rel"):
    preflight.check_fragile(config, release)
  names = releases.columns(release, "retain_synth")["file_name"]
  (release.path / releases.FRAGILE).write_text(f'["{names[-1]}"]')
  preflight.check_fragile(config, release)  # has one already


def test_a_release_without_candidates_for_the_fragile_set_is_refused_before_training(tmp_path):
  rows = [row(900 + number, "a portrait", "00000000") for number in range(3)]
  release = releases.open_release(write(tmp_path / "r", {"retain_synth": rows}))
  with pytest.raises(InputError, match=r"every row of retain_synth has an identity_id"):
    preflight.check_fragile(defaults.get_config(), release)
