"""Files of pairs that hold something else than pairs: what is kept of them, and what is said."""

import os
import subprocess
import sys
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handmade import jpeg
from test_pairs import members, tar

from salmu_jax.data import pairs, samples
from salmu_jax.errors import InputError


def checked(path, size=0):
  """({key without the file's name: caption} of what is kept, [why the rest is not])."""
  rows = [row for sample in samples.read_file(str(path)) for row in samples.check_row(sample, size)]
  kept = {key.partition("/")[2]: row["text"] for key, row, why in rows if why is None}
  return kept, [why for _, _, why in rows if why is not None]


def named(key, number=1, caption=None):
  """A picture and a caption of any key."""
  caption = caption or f"caption {number}".encode()
  return [(f"{key}.jpg", jpeg(number)), (f"{key}.txt", caption)]


KEYS = {
  "dots in all names": [named(f"photo.{i}", i) for i in (1, 2, 10)],
  "dates in folders": [named(f"a/2020.01.{i}", i) for i in (1, 2, 10)],
  "dots in one name": [named("x", 1), named("y.z", 2), named("w", 10)],
}


@pytest.mark.parametrize("case", KEYS)
def test_names_with_dots_are_pairs_too(case, tmp_path):
  kept, reasons = checked(tar(tmp_path / "a.tar", KEYS[case]))
  assert set(kept) == {name[:-4] for sample in KEYS[case] for name, _ in sample[:1]}
  assert sorted(kept.values()) == ["caption 1", "caption 10", "caption 2"] and reasons == []


def test_a_key_ends_at_the_first_dot_where_that_gives_a_picture(tmp_path):
  sample = [("a.jpg", jpeg(1)), ("a.seg.png", b"x"), ("a.orig.jpg", jpeg(2)), ("a.txt", b"right")]
  kept, reasons = checked(tar(tmp_path / "a.tar", [sample]))
  assert kept == {"a": "right"} and reasons == []


def test_pictures_without_captions_are_counted_one_by_one(tmp_path):
  sample = [("a.left.jpg", jpeg(1)), ("a.right.jpg", jpeg(2)), ("a.txt", b"both")]
  _, reasons = checked(tar(tmp_path / "a.tar", [sample]))
  assert reasons == ["without caption", "without caption", "without image"]


def test_names_that_are_there_again_are_counted(tmp_path):
  for number, order in enumerate(([1, 1, 2], [1, 2, 1])):
    kept, reasons = checked(tar(tmp_path / f"{number}.tar", [named(i, i) for i in order]))
    assert sorted(kept) == ["1", "2"] and set(reasons) == {"whose name is there again in its file"}


def test_a_name_of_another_encoding_is_kept_in_ascii(tmp_path):
  kept, _ = checked(tar(tmp_path / "a.tar", [named("caf\udce9"), named("\u5fd8\u308c")]))
  assert list(kept) == [r"caf\xe9", "\u5fd8\u308c"]


TEXTS = {
  "no UTF-8": ([("1.txt", b"caf\xe9")], "whose caption is no UTF-8"),
  "half a surrogate pair": ([("1.json", b'{"caption": "\\ud800"}')], "whose caption is no UTF-8"),
  "JSON nested deep": ([("1.json", b"[" * 100_000)], "without caption"),
  "a number of 5,000 digits": ([("1.json", b'{"caption": ' + b"1" * 5000)], "without caption"),
  "white space": ([("1.txt", b" \n")], "without caption"),
}


@pytest.mark.parametrize("case", TEXTS)
def test_a_caption_that_is_no_text_is_skipped(case, tmp_path):
  parts, reason = TEXTS[case]
  kept, reasons = checked(tar(tmp_path / "a.tar", [[("1.jpg", jpeg(1)), *parts], named(2, 2)]))
  assert kept == {"2": "caption 2"} and reasons == [reason]


def test_an_odd_but_whole_caption_is_kept_to_the_letter(tmp_path):
  odd = "\U0001f9d1\u200d\U0001f680 \u05e9\u05dc\x00 {0} " + "a" * 10**6
  kept, _ = checked(tar(tmp_path / "a.tar", [named(1, caption=odd.encode())]))
  assert kept == {"1": odd}


def test_links_and_folders_in_a_tar_are_passed_over(tmp_path):
  path = tmp_path / "a.tar"
  tar(path, [named(1)])
  with tarfile.open(path, "a") as archive:
    for name, kind in (("2.jpg", tarfile.SYMTYPE), ("3.jpg", tarfile.DIRTYPE)):
      member = tarfile.TarInfo(name)
      member.type, member.linkname = kind, "/etc/passwd"
      archive.addfile(member)
  assert checked(path) == ({"1": "caption 1"}, [])


def test_a_picture_too_long_for_jpeg_is_skipped(tmp_path, monkeypatch):
  monkeypatch.setattr(samples.images, "MOST_ASPECT", 10**6)
  path = tar(tmp_path / "a.tar", [[("1.jpg", jpeg(1, (50, 65500))), ("1.txt", b"x")]])
  assert checked(path, 49)[0] == {"1": "x"}
  monkeypatch.setattr(samples, "shrunk", lambda *args: (_ for _ in ()).throw(OSError("too long")))
  assert checked(path, 49)[1] == ["whose image cannot be decoded"]


TABLE = {"jpg": [jpeg(1), jpeg(2)], "caption": ["one", "two"]}
COLUMNS = {
  "views": {"jpg": pa.array(TABLE["jpg"], pa.binary_view()), "text": pa.array(["one", "two"])},
  "large texts": {"jpg": TABLE["jpg"], "txt": pa.array(["one", "two"], pa.large_string())},
  "a column of another's": {**TABLE, "skipped": ["x", "y"], "broken": [1, 2]},
  "times of a nanosecond beside them": {**TABLE, "at": pa.array([1, 2], pa.timestamp("ns"))},
  "structs with bytes": {
    "image": [{"bytes": data, "path": None} for data in TABLE["jpg"]],
    "caption": TABLE["caption"],
  },
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_of_other_types_are_read_alike(case, tmp_path):
  pq.write_table(pa.table(COLUMNS[case]), tmp_path / "a.parquet")
  kept, reasons = checked(tmp_path / "a.parquet")
  assert list(kept.values()) == ["one", "two"] and reasons == []


@pytest.mark.parametrize("caption", ["&nbsp;", "\x01", "\u200b", "\ufeff "])
def test_a_caption_that_shows_nothing_is_none(caption, tmp_path):
  pq.write_table(pa.table({**TABLE, "caption": ["one", caption]}), tmp_path / "a.parquet")
  kept, reasons = checked(tmp_path / "a.parquet")
  assert list(kept.values()) == ["one"] and reasons == ["without caption"]


WRONG = {
  "other columns": ({"x": [1]}, "without image"),
  "integers": ({"jpg": [1], "caption": ["a"]}, "whose image cannot be decoded"),
  "lists": ({"jpg": [[1]], "caption": ["a"]}, "whose image cannot be decoded"),
  "texts as pictures": ({"jpg": ["a"], "caption": ["a"]}, "whose image cannot be decoded"),
  "numbers as captions": ({"jpg": [jpeg(1)], "caption": [3]}, "without caption"),
  "an object as metadata": ({"jpg": [jpeg(1)], "json": [{"caption": "a"}]}, "without caption"),
  "paths": (
    {"image": [{"bytes": None, "path": "x.jpg"}], "caption": ["a"]},
    "whose image is not embedded",
  ),
}


@pytest.mark.parametrize("case", WRONG)
def test_columns_that_hold_something_else_are_skipped_and_said(case, tmp_path):
  columns, reason = WRONG[case]
  pq.write_table(pa.table(columns), tmp_path / "a.parquet")
  assert checked(tmp_path / "a.parquet") == ({}, [reason])


def cut_and_compressed(path):
  with tarfile.open(path, "w:gz") as archive:
    archive.add(tar(path.with_suffix(".inner"), [named(1)]), "1.jpg")
  os.truncate(path, path.stat().st_size // 2)


def doubled(path):
  table = pa.table(TABLE)
  pq.write_table(table.append_column("caption", table["caption"]), path)


def no_utf8(path):
  wrong = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff"]).buffers())
  pq.write_table(pa.table({**TABLE, "caption": wrong}), path)


FILES = {
  "a tar without bytes": ("a.tar", lambda path: path.write_bytes(b"")),
  "a page of the web": ("a.tar", lambda path: path.write_bytes(b"<html>" * 1000)),
  "a compressed tar that is cut": ("a.tar", cut_and_compressed),
  "parquet without bytes": ("a.parquet", lambda path: path.write_bytes(b"")),
  "parquet that is cut": (
    "a.parquet",
    lambda path: (pq.write_table(pa.table(TABLE), path), os.truncate(path, 900)),
  ),
  "a column twice": ("a.parquet", doubled),
  "texts that are no UTF-8": ("a.parquet", no_utf8),
  "a folder": ("a.tar", lambda path: path.mkdir()),
  "nothing": ("a.tar", lambda path: None),
}


@pytest.mark.parametrize("case", FILES)
def test_a_damaged_file_is_named_with_how_far_it_was_read(case, tmp_path):
  name, make = FILES[case]
  make(tmp_path / name)
  kept, reasons = checked(tmp_path / name)
  assert kept == {} and len(reasons) == 1
  assert reasons[0].startswith(f"{samples.BROKEN}{tmp_path / name}, read to row 0 (")


def test_a_file_without_rows_is_counted(tmp_path):
  tar(tmp_path / "a.tar", [])
  pq.write_table(pa.table(TABLE)[:0], tmp_path / "b.parquet")
  for name in ("a.tar", "b.parquet"):
    assert checked(tmp_path / name) == ({}, ["for want of rows in a file"])


@pytest.mark.parametrize(
  "options, message",
  [
    (dict(image_size=-1), r"--image_size=-1; it must be a number of pixels"),
    (dict(max_skipped=1.5), r"--max_skipped=1\.5; it must be a share from 0 to 1"),
    (dict(max_skipped=float("nan")), r"--max_skipped=nan; it must be a share"),
    (dict(shard_mib=0), r"--shard_mib=0; it must be 1 or more"),
  ],
)
def test_an_option_out_of_range_is_named(options, message, tmp_path):
  with pytest.raises(InputError, match=message):
    pairs.convert(["x.tar"], tmp_path, **{"image_size": 0, **options})


def test_an_address_that_beam_does_not_know_and_an_output_that_is_a_file_are_refused(tmp_path):
  with pytest.raises(InputError, match=r"nowhere://x/\*\.tar cannot be listed"):
    pairs.convert(["nowhere://x/*.tar"], tmp_path, image_size=0)
  tar(tmp_path / "a.tar", [named(1)])
  with pytest.raises(InputError, match=r"Cannot write .*/a\.tar: Not a directory"):
    pairs.convert([f"{tmp_path}/a.tar"], tmp_path / "a.tar", image_size=0)


NOTHING = {
  "no captions": [[("1.jpg", jpeg(1))], [("2.jpg", jpeg(2))]],
  "no members": [],
  "other endings": [[("1.bin", b"x"), ("1.md", b"x")]],
}


@pytest.mark.parametrize("case", NOTHING)
def test_where_nothing_can_be_used_the_reasons_are_said(case, tmp_path):
  tar(tmp_path / "a.tar", NOTHING[case])
  with pytest.raises(InputError, match=r"None of the [12] rows can be used: .*A row needs an ima"):
    pairs.convert([f"{tmp_path}/a.tar"], tmp_path / "out", image_size=0, max_skipped=1.0)


def test_the_command_ends_with_an_error_at_a_cut_tar_unless_it_is_allowed(tmp_path):
  whole = tar(tmp_path / "a.tar", [members(i) for i in range(300)])
  os.truncate(whole, whole.stat().st_size // 2)
  words = [sys.executable, "-m", "salmu_jax.data", str(whole), f"--output={tmp_path}/out"]
  refused = subprocess.run(words, capture_output=True, text=True)
  assert refused.returncode == 1 and "Traceback" not in refused.stderr
  assert f"Truncated or damaged: {whole}, read to row 1" in refused.stderr
  taken = subprocess.run([*words, "--allow_broken"], capture_output=True, text=True)
  assert taken.returncode == 0, taken.stderr
  assert f"truncated or damaged: {whole}, read to row 1" in " ".join(taken.stdout.split())
