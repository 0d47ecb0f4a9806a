"""Damaged records: made again where they come from a release, refused by name where they do not."""

import json
import os
import shutil

import numpy as np
import pytest
from damages import DAMAGES, flip
from handmade import write

from salmu_jax.data import record_marks, records, releases
from salmu_jax.errors import InputError
from salmu_jax.runtime import files


def with_manifest(path):
  """A handmade release with a manifest, as the generator writes it."""
  write(path)
  listed = {
    file.relative_to(path).as_posix(): files.sha256(file)
    for file in sorted(path.rglob("*"))
    if file.is_file()
  }
  counts = releases.open_release(path).counts
  manifest = {"generator": "handmade", "settings": {}, "counts": counts, "files": listed}
  files.write_json(path / "manifest.json", manifest)
  return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
  folder = tmp_path_factory.mktemp("made")
  release = releases.open_release(with_manifest(folder / "release"))
  return folder, rows_of(records.build(release, folder / "records"))


@pytest.fixture
def copy(made, tmp_path):
  shutil.copytree(made[0], tmp_path / "copy")
  return tmp_path / "copy"


def rows_of(opened):
  return {split: [dict(source[i]) for i in range(len(source))] for split, source in opened.items()}


def opened_again(folder):
  """The rows of the records in a folder, and how many rows were written to have them."""
  ticks = []
  release = releases.open_release(folder / "release")
  built = records.build(release, folder / "records", lambda: ticks.append(1))
  return rows_of(built), len(ticks)


def same(rows, expected):
  for split, source in expected.items():
    for row, other in zip(rows[split], source, strict=True):
      assert row == other


FILES = (
  "built_from.json",
  "salmu/1.0.0/dataset_info.json",
  "salmu/1.0.0/features.json",
  "salmu/1.0.0/salmu-forget.array_record-00000",
)


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_damaged_records_are_made_again(name, damage, made, copy, said):
  damage(copy / "records" / name)
  rows, written = opened_again(copy)
  same(rows, made[1])
  if name != FILES[0]:  # in the mark, a bit of a time of change does no harm
    assert written == sum(map(len, rows.values()))
    assert f"{name}" in said() and "rebuilt" in said()
  assert opened_again(copy)[1] == 0


def test_copied_records_are_whole_and_read_once_to_know_it(made, copy):
  rows, written = opened_again(copy)
  assert written == 0
  same(rows, made[1])


def test_a_byte_that_changed_without_the_time_of_change_is_found_when_its_row_is_read(copy):
  path = copy / "records" / FILES[-1]
  opened_again(copy)
  before = path.stat()
  content = bytearray(path.read_bytes())
  at = content.index(b"\xff\xd8\xff")  # a picture
  content[at + 200] ^= 1
  path.write_bytes(content)
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
  with pytest.raises(InputError, match=r"Row 0 of forget in .* is damaged .* delete the folder"):
    opened_again(copy)


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_in_the_place_of_the_records_gives_way(kind, made, copy):
  shutil.rmtree(copy / "records")
  if kind == "file":
    (copy / "records").write_text("no folder")
  else:
    (copy / "records").symlink_to("nowhere")
  same(opened_again(copy)[0], made[1])


def test_records_of_an_earlier_version_have_a_mark_without_checksums_and_are_used(made, copy):
  path = copy / "records" / record_marks.FILE
  files.write_json(path, files.read_json(path)["release"])
  rows, written = opened_again(copy)
  assert written == 0
  same(rows, made[1])
  flip(copy / "records" / FILES[1])
  assert opened_again(copy)[1] > 0  # it has checksums now


def edit(path, change):
  table = json.loads(path.read_text())
  change(table)
  path.write_text(json.dumps(table))


def test_a_caption_or_a_person_that_changed_after_the_records_were_made_is_refused(copy):
  captions = copy / "release" / releases.CAPTIONS
  original = captions.read_bytes()
  edit(captions, lambda table: next(iter(table.values())).update(caption="something else"))
  with pytest.raises(InputError, match=rf"{releases.CAPTIONS} is not the file that manifest\.json"):
    opened_again(copy)
  captions.write_bytes(original)
  edit(
    copy / "release" / releases.IDENTITIES, lambda table: table["00000001"].update(city="Nowhere")
  )
  with pytest.raises(InputError, match=rf"{releases.IDENTITIES} is not the file that manifest"):
    opened_again(copy)


def test_a_shard_that_changed_after_the_records_were_made_is_refused(copy):
  opened_again(copy)
  (shard,) = (copy / "release" / "data").glob("forget-00000-*")
  (other,) = (copy / "release" / "data").glob("forget-00001-*")
  shard.write_bytes(other.read_bytes())
  other.unlink()
  shutil.copyfile(shard, other)
  with pytest.raises(InputError):
    opened_again(copy)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
  """Pairs as `python -m salmu_jax.data` leaves them: retain_real of the handmade release."""
  folder = tmp_path_factory.mktemp("pairs")
  none = dict.fromkeys(("sensitive", "forget", "retain_synth", "zero_shot"))
  held = dict.fromkeys(("holdout_association", "holdout_identity"))
  write(folder / "release", {**none, **held})
  for name in (releases.CAPTIONS, releases.GENERIC):
    (folder / "release" / name).write_text("{}")
  release = releases.open_release(folder / "release", ())
  records.build(release, folder / "built")
  (folder / records.PAIRS).mkdir()
  shutil.copytree(folder / "built" / "salmu" / "1.0.0", folder / records.PAIRS / records.VERSION)
  files.write_json(folder / records.COUNTS, {"kept": 17, "skipped": {}, "digest": "0"})
  return folder


@pytest.mark.parametrize("damage", [d for n, d in DAMAGES.items() if n != "flipped"])
@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "salmu-", "counts.json"])
def test_damaged_pairs_are_refused_by_name(name, damage, pairs, tmp_path):
  folder = tmp_path / "pairs"
  shutil.copytree(pairs, folder)
  rows, digest = records.open_pairs(folder)
  assert len(rows) == 17 and digest == "0"
  (path,) = (
    p for p in (folder, folder / "pairs" / "1.0.0") for p in p.glob(f"{name}*") if p.is_file()
  )
  damage(path)
  with pytest.raises(InputError, match=r"pairs"):
    rows, _ = records.open_pairs(folder)
    np.testing.assert_equal(len([rows[i] for i in range(len(rows))]), 17)
