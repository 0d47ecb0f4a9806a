"""Records and batches: every row once an epoch, on any number of processes; never a holdout."""

import contextlib
import itertools
import threading
import time

import grain
import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from handmade import row, write

from salmu_jax.data import derived, images, pipeline, records, releases, tokenizers
from salmu_jax.errors import InputError
from salmu_jax.results import splits


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pipeline")
  source = releases.open_release(write(folder / "release"))
  return source, records.build(source, folder / "records")


WORDS = tokenizers.clip_tokenizer(16)


def examples(opened, purpose="forget", names=("forget",), **changes):
  settings = dict(image_size=16, seed=3) | changes
  rows = pipeline.open_training(opened[1], purpose, names)
  return pipeline.training_examples(rows, WORDS, **settings)


def first_batches(count, stream, batch_size=4, **changes):
  with contextlib.closing(pipeline.start(stream, batch_size, **changes)) as batches:
    return list(itertools.islice(batches, count))


def test_tensorflow_datasets_finds_the_records_by_their_name(opened, tmp_path):
  records.build(opened[0], tmp_path / "records")
  splits_there = tfds.builder("salmu", data_dir=tmp_path / "records").info.splits
  for split, rows in opened[1].items():
    assert splits_there[split].num_examples == len(rows)
    found = tfds.data_source("salmu", data_dir=tmp_path / "records", split=split)
    assert len(found) == len(rows) and found[1]["text"] == rows[1]["text"]
    assert found[1]["image"].shape[-1] == 3


@pytest.mark.parametrize("purpose", pipeline.READABLE)
@pytest.mark.parametrize(
  "split", ["holdout_identity", "holdout_association", "zero_shot", "fragile_set", "anything"]
)
def test_training_code_cannot_open_what_the_protocol_keeps_for_evaluation(opened, purpose, split):
  with pytest.raises(InputError, match=split):
    pipeline.open_training(opened[1], purpose, (split,))


@pytest.mark.parametrize("purpose", ["clean", "forget", "retain"])
def test_only_the_compromised_model_may_see_the_whole_sensitive_set(opened, purpose):
  with pytest.raises(InputError, match="sensitive"):
    pipeline.open_training(opened[1], purpose, ("sensitive",))
  assert len(pipeline.open_training(opened[1], "compromised", ("sensitive",))) == 24


def test_training_reads_the_whole_retain_base_once_however_it_is_cut():
  present = ("forget", "retain_synth", "retain_real", "sensitive", "holdout_identity", "zero_shot")
  assert pipeline.training_splits("clean", present) == ("retain_synth", "retain_real")
  assert pipeline.training_splits("compromised", present) == (
    "retain_synth",
    "retain_real",
    "sensitive",
  )
  assert pipeline.training_splits("forget", present) == ("forget",)
  published = (*splits.judged(), "forget_target")
  assert pipeline.training_splits("retain", published) == ("retain_synth",)
  assert pipeline.training_splits("retain", (*published, "retain", "sensitive")) == ("retain",)
  assert pipeline.training_splits("compromised", (*published, "retain", "sensitive")) == (
    "retain",
    "sensitive",
  )


def test_records_hold_the_releases_rows_in_order_with_their_generic_captions(opened):
  source, rows = opened
  for split in source.shards:
    expected = list(releases.rows(source, split))
    assert len(rows[split]) == len(expected)
    for record, expected_row in zip(rows[split], expected, strict=True):
      name = expected_row["file_name"]
      assert record["image"] == expected_row["image"]
      assert record["file_name"].decode() == name
      assert record["text"].decode() == expected_row["text"]
      assert record["generic"].decode() == source.generic.get(name, "")


def test_records_are_written_as_they_are_read_in_several_files(opened, tmp_path, monkeypatch):
  source, part_sizes, ticks = opened[0], [], []
  write = tfds.core.SequentialWriter.add_examples

  def watched(writer, examples):
    (part,) = examples.values()
    part_sizes.append(len(part))
    write(writer, examples)

  monkeypatch.setattr(tfds.core.SequentialWriter, "add_examples", watched)
  monkeypatch.setattr(records, "_PART_ROWS", 4)
  monkeypatch.setattr(records, "_SHARD_ROWS", 7)
  rows = records.build(source, tmp_path / "records", lambda: ticks.append(1))
  total = sum(source.counts.values())
  assert (
    max(part_sizes) == 4 and sum(part_sizes) == len(ticks) == records.row_count(source) == total
  )
  assert len(list((tmp_path / "records").rglob("*sensitive*array_record*"))) == 4  # 7 + 7 + 7 + 3
  for split in source.shards:
    names = [row["file_name"].decode() for row in rows[split]]
    assert names == list(releases.columns(source, split)["file_name"])


def test_a_training_split_without_rows_is_no_obstacle(tmp_path):
  source = releases.open_release(write(tmp_path / "release", {"retain_real": []}))
  assert "retain_real" not in records.build(source, tmp_path / "records")
  assert pipeline.splits_of(source.counts, "clean") == ("retain_synth",)


def test_records_that_were_cut_short_are_written_anew(opened, tmp_path, monkeypatch):
  def stop():
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    records.build(opened[0], tmp_path / "records", stop)
  rows = records.build(opened[0], tmp_path / "records")
  assert {split: len(source) for split, source in rows.items()} == opened[0].counts


def test_every_row_comes_once_an_epoch_in_an_order_that_changes(opened):
  texts = [batch["text"] for batch in first_batches(6, examples(opened))]
  first, second = np.concatenate(texts[:3]), np.concatenate(texts[3:])
  expected = WORDS([r["text"].decode() for r in opened[1]["forget"]])
  assert sorted(map(tuple, first)) == sorted(map(tuple, second)) == sorted(map(tuple, expected))
  assert not np.array_equal(first, second)


def test_same_seed_gives_the_same_batches_and_another_seed_others(opened):
  retain = ("retain_synth", "retain_real")

  def sixth(seed):
    return first_batches(6, examples(opened, "retain", retain, seed=seed, area=0.5, flip=0.5))[5]

  jax.tree.map(np.testing.assert_array_equal, sixth(1), sixth(1))
  assert not np.array_equal(sixth(1)["image"], sixth(2)["image"])


def test_training_draws_are_those_that_the_kept_results_were_made_with(monkeypatch):
  monkeypatch.setattr(images, "decode", lambda *_: None)
  monkeypatch.setattr(images, "random_crop", lambda image, size, rng, **_: np.float64(rng.random()))
  rows = [{"image": b"", "file_name": "a", "text": str(number)} for number in range(8)]
  numbered = lambda texts: [np.int32(texts[0])]
  stream = pipeline.training_examples(
    grain.MapDataset.source(rows), numbered, image_size=16, seed=3
  )
  assert [(stream[i]["text"], stream[i]["image"]) for i in range(3)] == [
    (4, 0.6354801187127788),
    (6, 0.3408083852389666),
    (0, 0.2659104987536034),
  ]


@pytest.mark.parametrize("count", [1, 2, 7, 33])
def test_order_and_draws_are_those_of_grains_own_steps(count):
  rows = [{"image": b"", "file_name": "a", "text": str(number)} for number in range(count)]
  draw = lambda row, rng: (row["text"], rng.random(3).tolist())
  for seed in (0, 3, 2**31 - 1):
    chain = grain.MapDataset.source(rows).seed(seed).shuffle().repeat()[0::1].random_map(draw)
    ours = pipeline._Examples(rows, draw, seed)
    assert [ours[i] for i in range(3 * count)] == [chain[i] for i in range(3 * count)]


def test_a_row_that_cannot_be_read_stops_the_batch_that_it_is_in(opened):
  rows = [dict(row) for row in opened[1]["forget"]]
  rows[9]["image"] = b"no picture"
  batches = pipeline.evaluation_images(rows, image_size=16, batch_size=4, threads=2)
  next(batches), next(batches)
  with pytest.raises(InputError, match=rows[9]["file_name"].decode()):
    next(batches)


def test_closing_a_pipeline_ends_its_threads(opened):
  before = threading.active_count()
  for _ in range(3):
    first_batches(2, examples(opened), threads=4)
  batches = pipeline.evaluation_images(opened[1]["forget"], image_size=16, batch_size=4, threads=4)
  next(batches)
  assert threading.active_count() > before
  batches.close()
  assert threading.active_count() == before


def test_processes_together_read_what_one_process_reads(opened, monkeypatch):
  alone = [batch["text"] for batch in first_batches(5, examples(opened))]
  parts = []
  for index in range(2):
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts.append([batch["text"] for batch in first_batches(5, examples(opened))])
  for batch, a, b in zip(alone, *parts, strict=True):
    assert len(a) == len(b) == 2
    assert sorted(map(tuple, batch)) == sorted(map(tuple, np.concatenate([a, b])))


def test_iterator_restored_from_its_state_goes_on_with_the_same_batches(opened):
  halves = {"forget": examples(opened, texts=("text", "generic")), "retain": examples(opened)}
  stream = pipeline.zip_halves(halves)
  with contextlib.closing(pipeline.start(stream, 4, threads=3)) as iterator:
    for _ in range(4):
      next(iterator)
    state = iterator.get_state()
    expected = [next(iterator) for _ in range(3)]
  with contextlib.closing(pipeline.start(stream, 4)) as again:
    again.set_state(state)
    for batch in expected:
      jax.tree.map(np.testing.assert_array_equal, batch, next(again))
  assert set(expected[0]["forget"]) == {"image", "text", "generic"}


@pytest.mark.parametrize("batch_size", [1, 5, 12, 50])
def test_evaluation_pads_to_one_shape_and_keeps_every_row(opened, batch_size):
  pictures = []
  for pixels, valid in pipeline.evaluation_images(
    opened[1]["forget"], image_size=16, batch_size=batch_size
  ):
    assert pixels.shape == (batch_size, 16, 16, 3) and pixels.dtype == np.uint8
    pictures.append(pixels[valid])
  expected = [
    images.resize_and_crop(images.decode(r["image"], "row"), 16) for r in opened[1]["forget"]
  ]
  np.testing.assert_array_equal(np.concatenate(pictures), expected)


@pytest.mark.parametrize("count, batch_size", [(13, 8), (9, 12), (16, 8)])
def test_processes_share_every_batch_of_an_evaluation(opened, monkeypatch, count, batch_size):
  rows, numbers = opened[1]["forget"], np.arange(count)[::-1] // 2
  batches = lambda: pipeline.evaluation_images(
    rows, image_size=16, batch_size=batch_size, numbers=numbers
  )
  whole, parts = list(batches()), []
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  for number in range(4):
    monkeypatch.setattr(jax, "process_index", lambda number=number: number)
    parts.append(list(batches()))
  for at, (pixels, valid) in enumerate(whole):
    together = np.concatenate([part[at][0] for part in parts])
    np.testing.assert_array_equal(together, pixels)
    for part in parts:
      np.testing.assert_array_equal(part[at][1], valid)
  assert {len(part) for part in parts} == {len(whole)}


class Watched:
  """Rows that take a moment; counts those that are read, and those that are read at once."""

  def __init__(self, rows, moment=0.0):
    self.rows, self.moment = rows, moment
    self.reads, self.now, self.most, self.lock = 0, 0, 0, threading.Lock()

  def __len__(self):
    return 1000

  def __getitem__(self, index):
    with self.lock:
      self.reads, self.now = self.reads + 1, self.now + 1
      self.most = max(self.most, self.now)
    time.sleep(self.moment)
    with self.lock:
      self.now -= 1
    return self.rows[index % 12]


def test_pipelines_hold_a_few_batches_at_most(opened):
  """Memory stays flat: reading ahead stops at the buffer, however long nobody asks."""
  rows = Watched(opened[1]["forget"])
  source = grain.MapDataset.source(rows)
  stream = pipeline.training_examples(source, WORDS, image_size=16, seed=0)
  with contextlib.closing(pipeline.start(stream, 4, ahead=3)) as batches:
    next(batches)
    patience = time.monotonic() + 10
    while rows.reads < 4 * 4 and time.monotonic() < patience:
      time.sleep(0.05)
    time.sleep(0.5)
    # One given, three buffered, one waiting for the buffer, and two rows behind it.
    assert 4 * 4 <= rows.reads <= 4 * (1 + 3 + 1) + 2


def test_all_threads_prepare_rows_of_one_batch_and_the_outcome_is_the_same(opened):
  def slow():
    return Watched(opened[1]["forget"], moment=0.05)

  def stream(rows):
    source = grain.MapDataset.source(rows)
    return pipeline.training_examples(source, WORDS, image_size=16, seed=0)

  rows = slow()
  (many,) = first_batches(1, stream(rows), 16, threads=8, ahead=1)
  assert rows.most == 8
  (alone,) = first_batches(1, stream(slow()), 16)
  jax.tree.map(np.testing.assert_array_equal, many, alone)
  rows = slow()
  batches = pipeline.evaluation_images(rows, image_size=16, batch_size=16, threads=8)
  with contextlib.closing(batches):
    next(batches)
  assert rows.most == 8


def test_records_are_built_once_and_again_only_for_another_release(tmp_path):
  source = releases.open_release(write(tmp_path / "one"))
  counted = []
  records.build(source, tmp_path / "records", lambda: counted.append(1))
  assert len(counted) == sum(source.counts.values())
  records.build(source, tmp_path / "records", lambda: counted.append(1))
  assert len(counted) == sum(source.counts.values())
  other = releases.open_release(
    write(tmp_path / "two", {"retain_real": [row(i, f"other {i}") for i in range(9)]})
  )
  assert len(records.build(other, tmp_path / "records")["retain_real"]) == 9


def test_a_corrupt_image_stops_the_build_and_is_named(tmp_path):
  broken = row(7, "a picture")
  broken["image"]["bytes"] = broken["image"]["bytes"][:100]
  path = write(tmp_path / "release", {"retain_real": [row(6, "fine"), broken]})
  with pytest.raises(
    InputError, match=r"row 1 \('00000007_000_ar-1.00.jpg'\) of split 'retain_real'"
  ):
    records.build(releases.open_release(path), tmp_path / "records")


def test_an_empty_caption_stops_the_build_and_is_named(tmp_path):
  path = write(tmp_path / "release", {"retain_real": [row(6, "fine"), row(7, "")]})
  with pytest.raises(InputError, match="The text of row 1"):
    records.build(releases.open_release(path), tmp_path / "records")


def test_derived_splits_follow_from_identities_and_the_stored_fragile_set(opened):
  source, _ = opened
  tables = {s: releases.columns(source, s) for s in splits.judged()}
  masks = derived.masks(source, tables)
  assert "fragile_set" not in masks
  names = lambda key: list(tables[masks[key][0]]["identity_id"][masks[key][1]])
  assert names("forget_identity") == ["00000000"] * 4 + ["00000001"] * 4
  assert names("forget_association") == ["00000002"] * 2 + ["00000003"] * 2
  assert names("retain_joint") == ["00000000"]
  assert names("retain_disjoint") == [""] * 20
