"""Stored pictures: the same bits as decoding gives, whatever happens to the files."""

import collections
import errno
import functools
import json
import shutil
import tracemalloc

import numpy as np
import pytest
from damages import replace_by_broken_link, replace_by_folder
from handmade import jpeg, row, write
from streams import assert_same, judged, training

from salmu_jax.data import images, pictures, pipeline, records, releases
from salmu_jax.errors import InputError
from salmu_jax.runtime import files

# Width and height of the pictures of retain_real; those of the other splits are 24 x 24.
SIZES = [(24, 24), (24, 31), (40, 24), (24, 49), (12, 24), (60, 30), (24, 48)]
SPLITS = ("forget", "retain_synth", "retain_real")


@pytest.fixture(scope="module")
def opened(tmp_path_factory):
  folder = tmp_path_factory.mktemp("pictures")
  mixed = [row(2000 + n, f"a picture of thing {n}") for n in range(21)]
  for number, member in enumerate(mixed):
    member["image"]["bytes"] = jpeg(number, SIZES[number % len(SIZES)])
  source = releases.open_release(write(folder / "release", {"retain_real": mixed}))
  return source, records.build(source, folder / "records")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
  monkeypatch.setattr(pictures, "BLOCK", 8)


def wanted(opened, names=SPLITS, **changes):
  release, rows = opened
  texts = lambda split: functools.partial(records.texts, release, split)
  return {
    name: pictures.Wanted(rows[name], texts(name), "digest")._replace(**changes) for name in names
  }


def stored(opened, folder, names=SPLITS, size=24, most_bytes=2**30, **changes):
  asked = wanted(opened, names, **changes)
  return pictures.stored(folder, asked, size=size, most_bytes=most_bytes)


@pytest.mark.parametrize("size", [24, 16, 48])
def test_rows_are_those_of_the_records_and_their_pixels_those_of_decoding(opened, tmp_path, size):
  for split, rows in stored(opened, tmp_path / "stored", size=size).items():
    assert len(rows) == len(opened[1][split])
    for ours, record in zip(rows, opened[1][split], strict=True):
      picture = images.decode(record["image"], "row")
      np.testing.assert_array_equal(ours["pixels"], images.resize_and_crop(picture, size))
      if "whole" in ours:
        np.testing.assert_array_equal(ours["whole"], np.asarray(picture))
      is_whole = min(picture.size) == size and max(picture.size) <= 2 * size
      assert ("whole" in ours) == is_whole
      assert ours["image"] == record["image"]
      for field in ("text", "generic", "identity_id", "file_name"):
        assert ours[field] == record[field].decode()


@pytest.mark.parametrize("size", [24, 16])
@pytest.mark.parametrize("change", [{}, {"flip": 0.5}, {"area": 0.6, "flip": 0.5}])
def test_batches_are_the_same_bits_with_and_without_a_store(opened, tmp_path, size, change):
  ours = stored(opened, tmp_path, size=size)
  options = {"size": size, **change}
  assert_same(training(ours, SPLITS[1:], **options), training(opened[1], SPLITS[1:], **options))
  for split in SPLITS:
    assert_same(judged(ours[split], size), judged(opened[1][split], size))


def test_nothing_is_decoded_where_the_store_serves(opened, tmp_path, decodings):
  rows = stored(opened, tmp_path)
  assert len(decodings) == sum(len(opened[1][split]) for split in SPLITS)
  decodings.clear()
  rows = stored(opened, tmp_path)
  training(rows, SPLITS[1:], area=1.0)
  training(rows, ("retain_synth",), area=0.5, flip=0.5)
  for split in SPLITS:
    judged(rows[split])
  assert not decodings
  # Of retain_real, these are not kept whole: 24 x 49, 12 x 24 and 60 x 30.
  training(rows, ("retain_real",), count=1, area=0.5)
  assert decodings


def flip_a_byte(path):
  content = bytearray(path.read_bytes())
  content[8 * 24 * 24 * 3 + 5] ^= 16  # in the second block of forget
  path.write_bytes(content)


def cut_short(path):
  path.write_bytes(path.read_bytes()[:-1])


def lengthen(path):
  path.write_bytes(path.read_bytes() + b"\0")


def halve_record(path):
  record = path.with_suffix(".json")
  record.write_bytes(record.read_bytes()[:200])


def change_record(path):
  record = path.with_suffix(".json")
  content = json.loads(record.read_text())
  content["checksums"][0] ^= 1
  record.write_text(json.dumps(content))


SPOILERS = {
  "a damaged block": flip_a_byte,
  "a truncated file": cut_short,
  "a file with more at its end": lengthen,
  "no file": lambda path: path.unlink(),
  "a damaged record": change_record,
  "half a record": halve_record,
  "a record of something else": lambda path: path.with_suffix(".json").write_text("[]"),
  "a folder in its place": replace_by_folder,
  "a broken link in its place": replace_by_broken_link,
  "a folder in the place of the record": lambda path: replace_by_folder(path.with_suffix(".json")),
  "killed before the record": lambda path: path.with_suffix(".json").unlink(),
}


@pytest.mark.parametrize("spoil", SPOILERS.values(), ids=SPOILERS)
def test_a_spoilt_store_costs_decoding_and_nothing_else(opened, tmp_path, said, decodings, spoil):
  expected = judged(opened[1]["forget"])
  stored(opened, tmp_path)
  spoil(tmp_path / "forget.u8")
  for _ in range(2):  # what was found damaged while it was read is made anew by the next run
    rows = stored(opened, tmp_path)
    assert_same(judged(rows["forget"]), expected)
    assert rows["forget"][9]["text"] == opened[1]["forget"][9]["text"].decode()
  lines = [line for line in said().splitlines() if line]
  silent = spoil is SPOILERS["killed before the record"]
  assert len(lines) == (0 if silent else 1) and all(str(tmp_path) in line for line in lines)
  decodings.clear()
  assert_same(judged(stored(opened, tmp_path)["forget"]), expected)
  assert not decodings


def test_a_damaged_block_is_found_when_it_is_first_read_and_the_others_serve(
  opened, tmp_path, said, decodings
):
  stored(opened, tmp_path)
  flip_a_byte(tmp_path / "forget.u8")
  decodings.clear()
  rows = stored(opened, tmp_path)
  judged([rows["forget"][n] for n in range(8)])
  assert not decodings and not said()
  judged(rows["forget"])
  judged(rows["forget"])
  assert len(decodings) == 2 * 4  # rows 8 to 11, twice
  assert said().count("damaged in rows 8 to 11") == 1
  assert not (tmp_path / "forget.json").exists()


CHANGES = {
  "another release": lambda monkeypatch: {"digest": "another"},
  "another size": lambda monkeypatch: {"size": 16},
  "another preprocessing": lambda monkeypatch: monkeypatch.setattr(pictures, "VERSION", 2) or {},
  "another decoder": lambda monkeypatch: monkeypatch.setattr("PIL.__version__", "0") or {},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_store_of_something_else_is_made_anew(
  opened, tmp_path, said, decodings, monkeypatch, change
):
  stored(opened, tmp_path)
  options = change(monkeypatch)
  decodings.clear()
  rows = stored(opened, tmp_path, **options)
  assert len(decodings) == sum(map(len, rows.values()))
  assert said().count("is not usable and rebuilt") == len(SPLITS)
  size = options.get("size", 24)
  assert_same(judged(rows["forget"], size), judged(opened[1]["forget"], size))


def no_folder(folder, monkeypatch):
  folder.write_text("a file where the folder should be")


def full_disk(folder, monkeypatch):
  def sync(number):
    raise OSError(errno.ENOSPC, "No space left on device")

  monkeypatch.setattr(files.os, "fsync", sync)


def too_little_space(folder, monkeypatch):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(2**30, 2**30, 0))


def read_only(folder, monkeypatch):
  def refuse(*_, **__):
    raise PermissionError(errno.EACCES, "Permission denied")

  monkeypatch.setattr(files.tempfile, "mkstemp", refuse)


@pytest.mark.parametrize("hinder", [no_folder, full_disk, too_little_space, read_only])
def test_where_nothing_can_be_stored_rows_are_decoded_and_the_folder_is_named(
  opened, tmp_path, said, monkeypatch, hinder
):
  folder = tmp_path / "stored"
  with monkeypatch.context() as patch:
    hinder(folder, patch)
    assert stored(opened, folder) == {}
  assert said().count(f"not stored in {folder} but decoded at every read") == 3
  assert folder.is_file() or not list(folder.glob("*"))


def test_a_store_that_was_being_made_when_the_run_was_killed_is_never_read(
  opened, tmp_path, monkeypatch
):
  def die(number):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
    patch.setattr(pictures.zlib, "crc32", die)
    stored(opened, tmp_path)
  assert not list(tmp_path.iterdir())
  # As SIGKILL leaves it: temporary files, and a whole file without its record.
  (tmp_path / ".forget.u8.abc").write_bytes(b"half")
  (tmp_path / "forget.u8").write_bytes(bytes(12 * 24 * 24 * 3))
  rows = stored(opened, tmp_path)
  assert_same(judged(rows["forget"]), judged(opened[1]["forget"]))
  kept = {path.name for path in tmp_path.iterdir()}
  assert kept == {f"{split}{ending}" for split in SPLITS for ending in (".u8", ".json")}


def test_what_is_kept_on_disk_is_bounded_and_what_is_left_out_is_said(opened, tmp_path, said):
  stored(opened, tmp_path)
  sizes = {split: (tmp_path / f"{split}.u8").stat().st_size for split in SPLITS}
  most = sizes["forget"] + sizes["retain_synth"]
  assert set(stored(opened, tmp_path, most_bytes=most)) == set(SPLITS[:2])
  assert {path.name for path in tmp_path.glob("*.u8")} == {"forget.u8", "retain_synth.u8"}
  assert "The images of retain_real are not stored" in said()
  # The pictures of retain_real are larger than 24 x 24, which is known when they are decoded.
  shutil.rmtree(tmp_path)
  assert set(stored(opened, tmp_path, most_bytes=sum(sizes.values()) - 1)) == set(SPLITS[:2])
  assert set(stored(opened, tmp_path, most_bytes=sum(sizes.values()))) == set(SPLITS)
  before = said()
  assert stored(opened, tmp_path, most_bytes=0) == {}
  assert not list(tmp_path.iterdir()) and said() == before


@pytest.mark.parametrize("split, size, looked_at", [("forget", 16, 1), ("retain_real", 24, 9)])
def test_a_split_for_pretraining_alone_is_not_stored_unless_all_of_it_is_kept_whole(
  opened, tmp_path, decodings, said, split, size, looked_at
):
  assert stored(opened, tmp_path, (split,), size, whole_only=True) == {}
  assert len(decodings) == looked_at  # the first, and the first block
  assert not list(tmp_path.glob("*")) and not said()
  assert set(stored(opened, tmp_path, ("forget",), whole_only=True)) == {"forget"}


def test_what_another_process_has_made_is_opened_and_nothing_is_written(opened, tmp_path, said):
  stored(opened, tmp_path, SPLITS[:2])
  before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
  rows = stored(opened, tmp_path, SPLITS[:2])
  assert set(rows) == set(SPLITS[:2]) and not said()
  assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before
  assert_same(judged(rows["forget"]), judged(opened[1]["forget"]))


def test_a_damaged_picture_of_the_source_is_named(opened, tmp_path):
  rows = [{"image": jpeg(n), "file_name": f"{n}.jpg"} for n in range(20)]
  rows[11]["image"] = b"no picture"
  with pytest.raises(InputError, match=r"'11\.jpg'"):
    stored(opened, tmp_path, ("forget",), source=rows)
  assert not list(tmp_path.iterdir())


def test_memory_stays_flat_while_a_store_is_made_and_read(opened, tmp_path):
  picture = jpeg(1, (64, 64))

  class Many:
    def __len__(self):
      return 1500

    def __getitem__(self, index):
      return {"image": picture, "file_name": "a", "text": "a"}

  tracemalloc.start()
  try:
    rows = stored(opened, tmp_path, ("forget",), 64, source=Many(), texts=dict)["forget"]
    for _ in pipeline.evaluation_images(rows, image_size=64, batch_size=16):
      pass
    _, most = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert (tmp_path / "forget.u8").stat().st_size == 1500 * 64 * 64 * 3
  assert most < 1500 * 64 * 64 * 3 / 4


def test_training_cannot_open_holdouts_that_are_stored(opened, tmp_path):
  rows = stored(opened, tmp_path, ("forget", "holdout_identity"))
  with pytest.raises(InputError, match="holdout_identity"):
    pipeline.open_training(rows, "forget", ("holdout_identity",))
