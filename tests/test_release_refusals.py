"""What a release must not hold is refused when it is opened, by file, row and field; odd but whole
texts are taken.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from damaged_releases import (
  CAPTIONS,
  FRAGILE,
  GENERIC,
  IDENTITIES,
  MANIFEST,
  ZERO_SHOT,
  column,
  copied,
  first,
  holding,
  manifest,
  renamed,
  shard,
)
from handmade import row, splits, write

from salmu_jax.data import records, releases, separation, texts, zero_shot
from salmu_jax.data.leaks import leaks
from salmu_jax.errors import InputError
from salmu_jax.evaluate import class_weights

JPG = r"00000000_000_ar-1\.00\.jpg"
HALF = "\ud800"


def refused(tmp_path, damage, message):
  path = write(tmp_path / "r")
  damage(path)
  with pytest.raises(InputError, match=message):
    releases.open_release(path)


def picture(**parts):
  """An image column of structs with these parts, each a function of the old values."""

  def change(old):
    values = [old_value.as_py() for old_value in old]
    arrays = [make([value["bytes"] for value in values]) for make in parts.values()]
    return pa.StructArray.from_arrays(arrays, list(parts))

  return change


def binary(kind):
  return lambda values: pa.array(values, kind)


TAKEN = {
  "views of texts": column("text", lambda old: old.combine_chunks().cast(pa.string_view())),
  "views of file names": column("file_name", lambda c: c.combine_chunks().cast(pa.string_view())),
  "views of pictures": column("image", picture(bytes=binary(pa.binary_view()))),
  "large pictures without paths": column("image", picture(bytes=binary(pa.large_binary()))),
  "a dictionary with a small index": column(
    "text", lambda c: c.cast(pa.string()).cast(pa.dictionary(pa.int8(), pa.string()))
  ),
  "a dictionary of large texts": column(
    "text", lambda c: c.cast(pa.large_string()).dictionary_encode()
  ),
  "shards of different types": column("text", lambda c: c.cast(pa.large_string()), index=1),
  "names of writers in shards": lambda path: [
    renamed(f"forget-0000{k}-of-00002-0a1b{k}.parquet", index=k)(path) for k in range(2)
  ],
}


@pytest.mark.parametrize("case", TAKEN)
def test_a_column_of_another_type_that_holds_the_same_reads_the_same(case, tmp_path):
  path = write(tmp_path / "r")
  before = list(releases.rows(releases.open_release(path), "forget"))
  TAKEN[case](path)
  opened = releases.open_release(path)
  assert list(releases.rows(opened, "forget")) == before
  assert releases.columns(opened, "forget")["text"].tolist() == [r["text"] for r in before]


COLUMNS = {
  "a list of texts": (("text", lambda c: pa.array([["a"]] * len(c))), r"holds list<.*string"),
  "a list of integers": (("text", lambda c: pa.array([[1]] * len(c))), r"holds list<.*int64"),
  "bytes": (("text", lambda c: c.cast(pa.binary())), "holds binary; it must hold string"),
  "a dictionary of integers": (
    ("text", lambda c: pa.array([1] * len(c)).dictionary_encode()),
    "holds int64|holds dictionary",
  ),
  "true and false": (("identity_id", lambda c: pa.array([True] * len(c))), "holds bool"),
  "a struct": (("file_name", lambda c: pa.array([{"a": "b"}] * len(c))), "holds struct<a: string>"),
  "no type for pictures": (("image", lambda c: pa.nulls(len(c))), "holds null; it must hold st"),
  "pictures without a struct": (("image", lambda c: pa.array([b"x"] * len(c))), "holds binary; it"),
  "integers for pictures": (
    ("image", lambda c: pa.array([{"bytes": [1], "path": "x"}] * len(c))),
    r"holds struct<bytes: list<.*int64>",
  ),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_a_column_that_holds_something_else_is_refused(case, tmp_path):
  change, message = COLUMNS[case]
  refused(tmp_path, column(*change), f"column '{change[0]}' of .*forget-00000-of-00002.* {message}")


def column_twice(path):
  file = shard(path, "forget")
  table = pq.read_table(file)
  pq.write_table(table.append_column("text", table["text"]), file)


def folder_for_a_shard(path):
  shard(path, "forget").unlink()
  (path / "data" / "forget-00000-of-00002.parquet").mkdir()


def footer(path):
  file = shard(path, "forget")
  data = bytearray(file.read_bytes())
  size = int.from_bytes(data[-8:-4], "little")
  data[-8 - size : -8] = bytes(size)
  file.write_bytes(bytes(data))


SHARDS = {
  "a column twice": (column_twice, r"forget-00000.* has the column 'text' twice"),
  "a folder": (folder_for_a_shard, r"forget-00000-of-00002\.parquet is not a file"),
  "a damaged footer": (footer, r"forget-00000-of-00002\.parquet is truncated, damaged"),
  "a pointer of Git LFS": (
    lambda path: shard(path, "forget").write_bytes(b"version https://git-lfs.github.com/spec/v1\n"),
    r"forget-00000-of-00002\.parquet is truncated, damaged or not a parquet file",
  ),
  "an older set": (
    copied("forget-00000-of-00001.parquet"),
    r"two sets of shards of the split 'forget': forget-00000-of-00001\.parquet and forget-00000-of",
  ),
  "a newer set": (copied("forget-00002-of-00003.parquet"), "two sets of shards of the split 'forg"),
  "a shard twice": (
    copied("forget-00001-of-00002-0a.parquet"),
    r"shard 1 of the split 'forget' twice: forget-00001-of-00002-0a\.parquet and forget-00001-of",
  ),
  "a number too large": (
    copied("forget-00002-of-00002.parquet"),
    "is numbered 2 of 2; numbers beg",
  ),
  "a missing number": (
    lambda path: [renamed(f"forget-0000{2 * k}-of-00003.parquet", index=k)(path) for k in (1, 0)],
    r"lacks the shard data/forget-00001-of-00003\.parquet",
  ),
  "shards without end": (
    renamed("forget-00000-of-9999999999999.parquet"),
    "is not named like a shard",
  ),
}


@pytest.mark.parametrize("case", SHARDS)
def test_shards_that_are_not_one_whole_set_are_refused(case, tmp_path):
  refused(tmp_path, *SHARDS[case])


def as_utf8(kind, texts_of_rows):
  """An array of `kind` whose bytes nobody checked."""
  values = pa.array(texts_of_rows, pa.binary())
  return pa.Array.from_buffers(kind, len(values), values.buffers())


@pytest.mark.parametrize("name", ["text", "identity_id", "file_name"])
@pytest.mark.parametrize("wrong", [b"a \xed\xa0\x80 b", b"\xff\xfe"])
def test_a_text_in_a_shard_that_is_no_utf8_is_named_by_its_row(name, wrong, tmp_path):
  change = lambda old: as_utf8(pa.string(), [wrong if k == 4 else b"a" for k in range(len(old))])
  refused(tmp_path, column(name, change), rf"Row 4 of .*forget-00000.* the {name} b'.*not UTF-8")


@pytest.mark.parametrize(
  "image, found",
  [({"bytes": None, "path": "a/b.jpg"}, "only the path 'a/b.jpg' is there"), (None, "is null")],
)
def test_a_picture_that_is_only_a_path_is_said_to_be_not_embedded(image, found, tmp_path):
  rows = splits()["retain_synth"]
  rows[17]["image"] = image
  opened = releases.open_release(write(tmp_path / "r", {"retain_synth": rows}))
  message = rf"row 7 of .*retain_synth-00001.* not embedded: .*{found}"
  for read in (
    lambda: separation.check(opened, tmp_path),
    lambda: records.build(opened, tmp_path / "records"),
  ):
    with pytest.raises(InputError, match=message):
      read()


def test_an_empty_picture_is_named_by_its_row(tmp_path):
  rows = splits()["retain_real"]
  rows[2]["image"] = {"bytes": b"", "path": "x"}
  opened = releases.open_release(write(tmp_path / "r", {"retain_real": rows}))
  with pytest.raises(InputError, match=r"The image of row 2 \('00002002_.*is empty"):
    records.build(opened, tmp_path / "records")


@pytest.mark.parametrize("text", [None, "", " \n", "&nbsp;", "\x01", "\u200b", "\ufeff"])
def test_a_row_without_a_caption_is_named_when_the_release_is_opened(text, tmp_path):
  rows = splits()["retain_real"]
  rows[2]["text"] = text
  path = write(tmp_path / "r", {"retain_real": rows})
  with pytest.raises(InputError, match=r"The text of row 2 \('00002002_.* of split 'retain_real'"):
    releases.open_release(path)


HASH = "a" * 64
DOCUMENTS = [
  (manifest(settings="x"), r"manifest\.json has 'x' as 'settings'; it must be an object"),
  (manifest(settings=[]), r"manifest\.json has \[\] as 'settings'; it must be an object"),
  (manifest(settings={"holdout_unit": ["fact"]}), r"\['fact'\] as 'holdout_unit' of its settings"),
  (manifest(settings={"holdout_unit": "x"}), "as 'holdout_unit' .* must be 'fact' or 'pair'"),
  (manifest(seed="0"), "has '0' as 'seed'; it must be an integer"),
  (manifest(seed=True), "has True as 'seed'; it must be an integer"),
  (manifest(generator=["x"]), r"has \['x'\] as 'generator'; it must be a string"),
  (manifest(facts=[]), r"has \[\] as 'facts'; it must be true or false"),
  (manifest(counts=[]), r"manifest\.json is not a release manifest"),
  (manifest(counts={"forget": "12"}), "has '12' as the rows of 'forget'; it must be an integer"),
  (manifest(counts={"forget": 12.5}), "has 12.5 as the rows of 'forget'; it must be an integer"),
  (manifest(counts={"forget": -1}), "has -1 as the rows of 'forget'; it must be an integer"),
  (manifest(counts={"forget_2": 3}), "split 'forget_2' of .* has 0 rows; manifest.json says 3"),
  (manifest(files={"../x": HASH}), r"has '\.\./x' among its files; .* a path inside the release"),
  (manifest(files={"data/../../x": HASH}), "among its files; it must be a path inside"),
  (manifest(files={"/etc/passwd": HASH}), "has '/etc/passwd' among its files"),
  (manifest(files={"data/x": 3}), "has 3 as the SHA-256 of 'data/x'; it must be 64 hexadecimal"),
  (manifest(files={"data/x": "abc"}), "has 'abc' as the SHA-256 of 'data/x'"),
  (first(CAPTIONS, data_field=["city"]), rf"has \['city'\] as `data_field` of '{JPG}'"),
  (first(CAPTIONS, data_field={}), rf"has \{{\}} as `data_field` of '{JPG}'"),
  (first(CAPTIONS, data_field=None), "has None as `data_field` of .* the name of the private fie"),
  (first(CAPTIONS, data_field=...), "has nothing as `data_field` of "),
  (first(CAPTIONS, data_field=3), "has 3 as `data_field` of "),
  (first(CAPTIONS, style=["web"]), rf"has \['web'\] as `style` of '{JPG}'; it must be a string"),
  (first(CAPTIONS, style={}), r"has \{\} as `style` of "),
  (first(CAPTIONS, value=3), "has 3 as `value` of "),
  (first(CAPTIONS, value=""), "has '' as `value` of "),
  (first(CAPTIONS, value="\u2060"), r"has '\\u2060' as `value` of "),
  (first(CAPTIONS, caption=[]), r"has \[\] as `caption` of "),
  *(
    (
      first(IDENTITIES, name=name),
      rf"has {found} as `name` of '00000000'; it must be a non-empty string",
    )
    for name, found in (
      (..., "nothing"),
      (None, "None"),
      (3, "3"),
      ("", "''"),
      (" ", "' '"),
      ("&nbsp;", "'&nbsp;'"),
    )
  ),
  (first(IDENTITIES, name=["A"]), r"has \['A'\] as `name` of '00000000'"),
  (holding(IDENTITIES, lambda c: {**c, "x": {}}), "has nothing as `name` of 'x'"),
  *(
    (
      first(IDENTITIES, city=value),
      "as 'city' of '00000000'; it must be a non-empty string, or a",
    )
    for value in (["a", 3], [3, "a"], [3], [], [None], [["a"]], None, "", " ", ["a", ""], True, 1.5)
  ),
  (holding(GENERIC, lambda c: {**c, next(iter(c)): ["x"]}), rf"has \['x'\] for '{JPG}'"),
  *(
    (holding(GENERIC, lambda c, s=s: {**c, next(iter(c)): s}), f"has an empty caption for '{JPG}'")
    for s in (" ", "\u200b")
  ),
  (holding(FRAGILE, lambda _: []), "must hold a list of file names"),
  (holding(FRAGILE, lambda _: [3]), "must hold a list of file names"),
  (holding(FRAGILE, lambda _: {"a": 1}), "must hold a list of file names"),
  (holding(FRAGILE, lambda _: ["a", "a"]), "lists 'a' 2 times; list it once"),
]


@pytest.mark.parametrize("damage, message", DOCUMENTS)
def test_a_json_file_of_another_shape_is_refused_by_its_field(damage, message, tmp_path):
  refused(tmp_path, damage, message)


@pytest.mark.parametrize(
  "damage",
  [
    first(IDENTITIES, name=f"A{HALF}"),
    first(IDENTITIES, city=["x", HALF]),
    holding(IDENTITIES, lambda c: {**c, HALF: {"name": "A"}}),
    *(first(CAPTIONS, **{part: HALF}) for part in ("caption", "style", "value", "data_field")),
    holding(GENERIC, lambda c: {**c, next(iter(c)): HALF}),
    holding(ZERO_SHOT, lambda c: {**c, "classes": [*c["classes"], HALF]}),
    holding(ZERO_SHOT, lambda c: {**c, "prompts": [f"{{}} {HALF}"]}),
    holding(FRAGILE, lambda _: [HALF]),
    manifest(generator=HALF),
    manifest(settings={"x": [{"y": HALF}]}),
  ],
)
def test_half_a_surrogate_pair_is_refused_wherever_it_stands(damage, tmp_path):
  refused(tmp_path, damage, r"\.json has '.*\\ud800.* holds half a surrogate pair")


@pytest.mark.parametrize(
  "prompt",
  ["a {name}", "a {", "}", "{0}", "{!r}", "{:>10000000000}", "none", "{} {}", "{{}}", "{{}} {}"],
)
def test_a_prompt_has_one_place_for_a_name_and_no_other_braces(prompt, tmp_path):
  assert not texts.takes_a_name(prompt) and texts.takes_a_name("a photo of {}.")
  damage = holding(ZERO_SHOT, lambda c: {**c, "prompts": ["a {}", prompt]})
  refused(tmp_path, damage, r"zero_shot\.json has the prompt .* must hold one \{\} for the class")


def test_classes_have_names_of_their_own_which_may_hold_braces(tmp_path):
  for classes, message in (
    (["cat", "dog", "cat"], "class 'cat' 2 times"),
    (["cat", ""], "without"),
    (["cat", "\ufeff"], "without a name"),
  ):
    damage = holding(ZERO_SHOT, lambda c, classes=classes: {**c, "classes": classes})
    refused(tmp_path / message, damage, message)
  rows = [row(3000 + i, ("{0}", "{x")[i % 2]) for i in range(6)]
  path = write(tmp_path / "r", {"zero_shot": rows})
  holding(ZERO_SHOT, lambda c: {**c, "classes": ["{0}", "{x"]})(path)
  opened = releases.open_release(path)
  pictures = zero_shot.of_release(opened, records.build(opened, tmp_path / "records"))
  assert class_weights.prompts(pictures)[:2] == ["a photo of a {0}", "one {0}"]


ODD = {
  "emoji": "\U0001f9d1\u200d\U0001f680 \U0001f1f5\U0001f1f9",
  "right to left": "\u05e9\u05dc\u05d5\u05dd \u202e\u0645\u0631\u062d\u0628\u0627",
  "combining marks": "Z\u0351\u036b\u0343" * 20,
  "no character of Unicode yet": "\U000e1234\ufffe\uffff",
  "a null and other control characters": "a\x00b\x1b[31m\r\n\x7f",
  "rich markup": "[bold]x[/nope]",
  "format": "{0} %s {name}",
  "a million letters": "a" * 10**6,
}


@pytest.mark.parametrize("case", ODD)
def test_odd_but_whole_texts_are_taken_to_the_letter(case, tmp_path):
  odd = ODD[case]
  rows = splits()["forget"]
  rows[0]["text"] = odd
  path = write(tmp_path / "r", {"forget": rows})
  first(IDENTITIES, name=odd, city=[odd, "x"])(path)
  holding(GENERIC, lambda c: {**c, next(iter(c)): odd})(path)
  opened = releases.open_release(path)
  separation.check(opened, tmp_path)
  leak = leaks(opened, releases.columns(opened, "forget"))[0]
  assert (leak.name, leak.value, leak.text) == (odd, odd, odd)
  stored = records.build(opened, tmp_path / "records")["forget"][0]
  assert stored["text"].decode() == stored["generic"].decode() == odd


def test_a_style_that_is_null_a_number_as_value_and_parts_that_nobody_reads_are_taken(tmp_path):
  path = write(tmp_path / "r")
  first(CAPTIONS, style=None, caption=..., of_theirs=[1, {"a": None}])(path)
  first(IDENTITIES, city=4051, of_theirs={"a": [1.5]})(path)
  manifest(of_theirs=[], seed=0, settings={"holdout_unit": "pair", "x": None})(path)
  opened = releases.open_release(path)
  assert leaks(opened, releases.columns(opened, "forget"))[0].value == "4051"


@pytest.mark.parametrize("content", ["{", "[]", "3", '"x"', "{" * 100_000])
def test_what_is_remembered_is_made_again_where_it_is_damaged(content, tmp_path, capsys):
  path, scratch = write(tmp_path / "r"), tmp_path / "scratch"
  digest = releases.open_release(path, scratch=scratch).digest
  separation.check(releases.open_release(path), scratch)
  marks = [scratch / "release_hashes.json", scratch / separation.MARK]
  before = [json.loads(mark.read_text()) for mark in marks]
  for mark in marks:
    mark.write_text(content)
  opened = releases.open_release(path, scratch=scratch)
  separation.check(opened, scratch)
  assert opened.digest == digest and before == [json.loads(mark.read_text()) for mark in marks]
  assert "is damaged and is made again" in capsys.readouterr().err.replace("\n", " ")


def test_a_manifest_that_counts_a_split_without_shards_as_empty_is_right(tmp_path):
  path = write(tmp_path / "r")
  manifest(counts={"forget_target": 0})(path)
  assert releases.open_release(path).manifest["counts"] == {"forget_target": 0}
  assert (path / MANIFEST).exists()


def test_an_address_too_long_for_a_disk_is_refused():
  with pytest.raises(InputError, match=r"config\.release has a name of 5000 bytes"):
    releases.open_release("x" * 5000)


@pytest.mark.parametrize("address", ["a\0b", "/dev/null", "."])
def test_an_address_that_is_no_folder_of_a_release_is_refused(address, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(InputError, match=r"is not a release: it has no folder|cannot be read"):
    releases.open_release(address)
