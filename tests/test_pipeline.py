"""Records and batches: every row once an epoch, the same on any number of processes, holdouts shut."""

import grain
import jax
import numpy as np
import pytest
from handmade import row, write

from salmu_jax.data import images, pipeline, records, release, splits, tokenizer
from salmu_jax.errors import InputError


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pipeline")
  source = release.open_release(write(folder / "release"))
  return source, records.build(source, folder / "records")


WORDS = tokenizer.clip_tokenizer(16)


def batches(opened, purpose="forget", names=("forget",), **changes):
  settings = dict(image_size=16, batch_size=4, seed=3, **changes)
  rows = pipeline.open_training(opened[1], purpose, names)
  return pipeline.training_batches(rows, WORDS, **settings)


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
  both = ("forget", "retain_synth", "retain_real", "sensitive", "holdout_identity", "zero_shot")
  assert pipeline.training_splits("clean", both) == ("retain_synth", "retain_real")
  assert pipeline.training_splits("compromised", both) == (
    "retain_synth",
    "retain_real",
    "sensitive",
  )
  assert pipeline.training_splits("forget", both) == ("forget",)
  published = (*release.BENCHMARK_SPLITS, "forget_target")
  assert pipeline.training_splits("retain", published) == ("retain_synth",)
  assert pipeline.training_splits("retain", (*published, "retain", "sensitive")) == ("retain",)
  assert pipeline.training_splits("compromised", (*published, "retain", "sensitive")) == (
    "retain",
    "sensitive",
  )


def test_records_hold_the_releases_rows_in_order_with_their_generic_captions(opened):
  source, rows = opened
  for split in source.shards:
    expected = list(release.rows(source, split))
    assert len(rows[split]) == len(expected)
    for mine, theirs in zip(rows[split], expected, strict=True):
      assert mine["image"] == theirs["image"]
      assert mine["file_name"].decode() == theirs["file_name"]
      assert mine["text"].decode() == theirs["text"]
      assert mine["generic"].decode() == source.generic.get(theirs["file_name"], "")


def test_every_row_comes_once_an_epoch_in_an_order_that_changes(opened):
  stream = batches(opened)
  first, second = (
    np.concatenate([stream[epoch * 3 + i]["text"] for i in range(3)]) for epoch in range(2)
  )
  expected = WORDS([r["text"].decode() for r in opened[1]["forget"]])
  assert sorted(map(tuple, first)) == sorted(map(tuple, second)) == sorted(map(tuple, expected))
  assert not np.array_equal(first, second)


def test_same_seed_gives_the_same_batches_and_another_seed_others(opened):
  rows = pipeline.open_training(opened[1], "retain", ("retain_synth", "retain_real"))
  make = lambda seed: pipeline.training_batches(
    rows, WORDS, image_size=16, batch_size=4, seed=seed, area=0.5, flip=0.5
  )
  jax.tree.map(np.testing.assert_array_equal, make(1)[5], make(1)[5])
  assert not np.array_equal(make(1)[5]["image"], make(2)[5]["image"])


def test_processes_together_read_what_one_process_reads(opened, monkeypatch):
  alone = [batches(opened)[i]["text"] for i in range(5)]
  parts = []
  for index in range(2):
    monkeypatch.setattr(jax, "process_index", lambda index=index: index)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    parts.append([batches(opened)[i]["text"] for i in range(5)])
  for whole, a, b in zip(alone, *parts, strict=True):
    assert len(a) == len(b) == 2
    assert sorted(map(tuple, whole)) == sorted(map(tuple, np.concatenate([a, b])))


def test_iterator_restored_from_its_state_goes_on_with_the_same_batches(opened):
  halves = {"forget": batches(opened, texts=("text", "generic")), "retain": batches(opened)}
  iterator = pipeline.start(pipeline.side_by_side(halves))
  for _ in range(4):
    next(iterator)
  state = iterator.get_state()
  expected = [next(iterator) for _ in range(3)]
  again = pipeline.start(pipeline.side_by_side(halves))
  again.set_state(state)
  for batch in expected:
    jax.tree.map(np.testing.assert_array_equal, batch, next(again))
  assert set(expected[0]["forget"]) == {"image", "text", "generic"}


def test_a_batch_larger_than_the_data_is_refused(opened):
  rows = pipeline.open_training(opened[1], "forget", ("forget",))
  with pytest.raises(InputError, match="13 rows is larger than the 12 rows"):
    pipeline.training_batches(rows, WORDS, image_size=16, batch_size=13, seed=0)


@pytest.mark.parametrize("batch_size", [1, 5, 12, 50])
def test_evaluation_pads_to_one_shape_and_keeps_every_row(opened, batch_size):
  seen = []
  for pixels, valid in pipeline.evaluation_images(
    opened[1]["forget"], image_size=16, batch_size=batch_size
  ):
    assert pixels.shape == (batch_size, 16, 16, 3) and pixels.dtype == np.uint8
    seen.append(pixels[valid])
  expected = [
    images.resize_and_crop(images.decode(r["image"], "row"), 16) for r in opened[1]["forget"]
  ]
  np.testing.assert_array_equal(np.concatenate(seen), expected)


def test_pipelines_hold_a_few_batches_at_most(opened):
  """Memory stays flat: reading ahead stops at the buffer, however long nobody asks."""
  reads = []

  class Counting:
    def __len__(self):
      return 1000

    def __getitem__(self, index):
      reads.append(index)
      return opened[1]["forget"][index % 12]

  rows = grain.MapDataset.source(Counting())
  stream = pipeline.training_batches(rows, WORDS, image_size=16, batch_size=4, seed=0)
  iterator = pipeline.start(stream, ahead=3)
  next(iterator)
  import time

  time.sleep(0.5)
  assert len(reads) <= 4 * (1 + 3 + 2)


def test_records_are_built_once_and_again_only_for_another_release(tmp_path):
  source = release.open_release(write(tmp_path / "one"))
  counted = []
  records.build(source, tmp_path / "records", lambda: counted.append(1))
  assert len(counted) == sum(source.counts.values())
  records.build(source, tmp_path / "records", lambda: counted.append(1))
  assert len(counted) == sum(source.counts.values())
  other = release.open_release(
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
    records.build(release.open_release(path), tmp_path / "records")


def test_an_empty_caption_stops_the_build_and_is_named(tmp_path):
  path = write(tmp_path / "release", {"retain_real": [row(6, "fine"), row(7, "")]})
  with pytest.raises(InputError, match="The text of row 1"):
    records.build(release.open_release(path), tmp_path / "records")


def test_derived_splits_follow_from_identities_and_the_stored_fragile_set(opened):
  source, _ = opened
  tables = {s: release.columns(source, s) for s in release.BENCHMARK_SPLITS}
  masks = splits.derived(source, tables)
  assert "fragile_set" not in masks
  names = lambda key: list(tables[masks[key][0]]["identity_id"][masks[key][1]])
  assert names("forget_identity") == ["00000000"] * 4 + ["00000001"] * 4
  assert names("forget_association") == ["00000002"] * 2 + ["00000003"] * 2
  assert names("retain_joint") == ["00000000"]
  assert names("retain_disjoint") == [""] * 20


@pytest.mark.parametrize("size", [(64, 64), (64, 80), (171, 512), (512, 171), (33, 100)])
def test_resize_and_crop_keeps_the_centre_of_the_picture(size):
  """Against the definition: shorter side to 16, then the central 16 x 16."""
  from PIL import Image

  pixels = np.random.default_rng(0).integers(0, 255, (size[1], size[0], 3), np.uint8)
  picture = Image.fromarray(pixels)
  short = min(size)
  scaled = picture.resize(tuple(int(16 * s / short) for s in size), Image.Resampling.BICUBIC)
  top, left = round((scaled.height - 16) / 2), round((scaled.width - 16) / 2)
  expected = np.asarray(scaled)[top : top + 16, left : left + 16]
  np.testing.assert_array_equal(images.resize_and_crop(picture, 16), expected)


def test_random_crop_without_randomness_is_the_central_square():
  from PIL import Image

  pixels = np.random.default_rng(0).integers(0, 255, (20, 16, 3), np.uint8)
  crop = images.random_crop(
    Image.fromarray(pixels), 16, np.random.default_rng(0), area=1.0, flip=0.0
  )
  np.testing.assert_array_equal(crop, pixels[2:18])
  mirrored = images.random_crop(
    Image.fromarray(pixels), 16, np.random.default_rng(0), area=1.0, flip=1.0
  )
  np.testing.assert_array_equal(mirrored, pixels[2:18, ::-1])


def test_normalise_gives_clips_statistics():
  flat = np.full((1, 2, 2, 3), 128, np.uint8)
  out = images.normalise(flat)
  expected = (128 / 255 - np.array(images.MEAN)) / np.array(images.STD)
  np.testing.assert_allclose(out[0, 0, 0], expected, rtol=1e-5)
