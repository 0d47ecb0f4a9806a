"""Pairs of one's own that cannot be used are named by file and line; what Windows and spreadsheets
write is taken; what a run made of pairs before is made again where it is damaged.
"""

import base64
import json
import os
import shutil

import pytest
from handmade import jpeg
from ownpairs import kept, pair, write_rows

from salmu_jax.data import own, releases
from salmu_jax.errors import InputError

PICTURE = {"image": "pictures/0-0.jpg", "caption": "x"}


@pytest.fixture
def pairs(tmp_path):
  """(forget.jsonl of six lines, retain.jsonl) with their pictures."""
  forget = [pair(person, number) for person in range(3) for number in range(2)]
  return (
    write_rows(tmp_path / "forget.jsonl", forget),
    write_rows(tmp_path / "retain.jsonl", [kept(number) for number in range(5)]),
  )


def made(pairs, tmp_path):
  folder = own.make(*pairs, tmp_path / "made")
  return releases.open_release(folder, (own.FORGET, own.RETAIN))


def line(**parts):
  return json.dumps({**PICTURE, **parts}).encode()


LINES = {
  "a list as picture": (line(image=["a"]), r"line 7: image is \['a'\]; it must be a string"),
  "an object as picture": (line(image={}), r"line 7: image is \{\}; it must be a string"),
  "a null as picture": (line(image=None), "line 7: image is None; it must be a string"),
  "a list as caption": (line(caption=["x"]), r"line 7: caption is \['x'\]; it must be a string"),
  "a number as person": (line(person=3), "line 7: person is 3; it must be a string"),
  "a caption of control characters": (
    line(caption="\x01"),
    "line 7: caption is .* no visible characters",
  ),
  "a caption of an entity for a space": (
    line(caption="&nbsp;"),
    "line 7: caption is '&nbsp;', whi",
  ),
  "a caption without width": (line(caption="\u200b"), r"line 7: caption is '\\u200b', which has"),
  "a byte order mark as value": (
    line(value="\ufeff"),
    "line 7: value is .*, which has no visible characters",
  ),
  "half a surrogate pair in a path": (line(image="\ud800.jpg"), "line 7: image has half a surrog"),
  "a path too long": (line(image="a" * 5000), r"line 7: the image .* cannot be read \(File name"),
  "a folder": (line(image="pictures"), r"pictures cannot be read \(it is a folder"),
  "an absolute path to nothing": (line(image="/no/x.jpg"), r"the image /no/x\.jpg cannot be rea"),
  "a file without bytes": (
    line(image="pictures/empty.jpg"),
    "line 7: the image cannot be used.*is empty",
  ),
  "a device": (line(image="/dev/null"), r"line 7: the image /dev/null cannot .*a pipe or a devi"),
  "an endless device": (line(image="/dev/zero"), r"/dev/zero cannot be read \(it is a pipe or"),
  "a number": (b"3", "line 7 is int, not an object"),
  "a null": (b"null", "line 7 is NoneType, not an object"),
  "a key twice": (
    b'{"caption": "a", "caption": "b"}',
    "line 7 is not JSON .*'caption' occurs 2 t",
  ),
  "two objects": (b"{} {}", r"line 7 is not JSON \(Extra data"),
  "a comma too many": (b'{"caption": "x",}', "line 7 is not JSON"),
  "a number of 5,000 digits": (b'{"image": ' + b"1" * 5000 + b"}", "line 7 is not JSON"),
  "no UTF-8": (b'{"caption": "\xff"}', "line 7 is not JSON .*codec can't decode byte 0xff"),
}


@pytest.mark.parametrize("case", LINES)
def test_a_line_that_is_no_pair_is_refused(case, pairs, tmp_path):
  content, message = LINES[case]
  forget, _ = pairs
  (forget.parent / "pictures" / "empty.jpg").touch()
  forget.write_bytes(forget.read_bytes() + content + b"\n")
  with pytest.raises(InputError, match=message):
    made(pairs, tmp_path)


WRITINGS = {
  "a byte order mark": lambda content: b"\xef\xbb\xbf" + content,
  "lines as Windows ends them": lambda content: content.replace(b"\n", b"\r\n"),
  "a last line without an end": lambda content: content.rstrip(b"\n"),
  "empty lines": lambda content: content.replace(b"\n", b"\n\n \t\r\n"),
}


@pytest.mark.parametrize("case", WRITINGS)
def test_the_same_pairs_in_another_writing_are_the_same(case, pairs, tmp_path):
  before = made(pairs, tmp_path / "first")
  pairs[0].write_bytes(WRITINGS[case](pairs[0].read_bytes()))
  after = made(pairs, tmp_path / "second")
  texts = [releases.columns(release, "forget")["text"].tolist() for release in (before, after)]
  assert texts[0] == texts[1] and len(texts[0]) == 6


def test_absolute_paths_pairs_that_are_there_twice_and_odd_texts_are_taken(pairs, tmp_path):
  odd = "\U0001f9d1\u200d\U0001f680 \u05e9\u05dc\u05d5\u05dd\x00 {name} [/b] " + "a" * 10**6
  rows = [pair(0, 0), pair(0, 0), pair(1, 0, image=str(tmp_path / "pictures" / "1-0.jpg"))]
  write_rows(pairs[0], [*rows, {**PICTURE, "caption": odd.strip(), "name": odd.strip()}])
  release = made(pairs, tmp_path)
  table = releases.columns(release, "forget")
  assert table["text"][3] == odd.strip() and len(set(table["file_name"])) == 4
  assert [row["image"] for row in releases.rows(release, "forget")][2] == (
    tmp_path / "pictures" / "1-0.jpg"
  ).read_bytes()


FILES = {
  "a table of a spreadsheet": (b"image,caption\na.jpg,x\n", "line 1 is not JSON"),
  "UTF-16": ('{"caption": "x"}\n'.encode("utf-16"), "line 1 is not JSON"),
  "compressed": (b"\x1f\x8b\x08\x00", "line 1 is not JSON"),
  "one list of all pairs": (json.dumps([PICTURE]).encode(), "line 1 is list, not an object"),
  "empty lines alone": (b"\n \n", "There are no pairs to forget"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_file_of_another_kind_is_refused(case, pairs, tmp_path):
  content, message = FILES[case]
  pairs[0].write_bytes(content)
  with pytest.raises(InputError, match=message):
    made(pairs, tmp_path)


def test_a_place_that_is_no_file_is_refused(pairs, tmp_path):
  forget, retain = pairs
  for place in (tmp_path, tmp_path / ("a" * 5000), tmp_path / "a\0b"):
    with pytest.raises(InputError, match=r"is not a file\. Give a JSON-lines file"):
      made((place, retain), tmp_path)
  (tmp_path / "empty").mkdir()
  with pytest.raises(InputError, match=r"holds no images \(\.jpg"):
    made((forget, tmp_path / "empty"), tmp_path)
  with pytest.raises(InputError, match=r"is to be kept and .* is to be forgotten"):
    made((forget, forget), tmp_path)


def test_a_caption_beside_a_picture_that_shows_nothing_is_named(pairs, tmp_path):
  folder = tmp_path / "keep"
  folder.mkdir()
  (folder / "1.jpg").write_bytes(jpeg(1))
  (folder / "1.txt").write_text("\u200b \ufeff")
  with pytest.raises(InputError, match=r"1\.txt has no visible characters .* caption of 1\.jpg"):
    made((pairs[0], folder), tmp_path)


@pytest.mark.parametrize(
  "change", [str.upper, lambda text: f" {text.replace(' ', '  ')}", lambda text: f"{text}\u200b"]
)
def test_a_pair_to_keep_is_known_by_what_a_model_reads_of_its_caption(change, pairs, tmp_path):
  forgotten = pair(1, 1)
  write_rows(pairs[1], [{**PICTURE, "image": forgotten["image"]}, kept(0)])
  made(pairs, tmp_path)  # other words about the same picture
  again = {"image": forgotten["image"], "caption": change(forgotten["caption"])}
  write_rows(pairs[1], [kept(0), again])
  with pytest.raises(InputError, match=r"retain\.jsonl, line 2 is to be kept and .*, line 4 is to"):
    made(pairs, tmp_path)


def test_a_person_with_two_names_is_refused_with_both_rows(pairs, tmp_path):
  rows = [pair(0, n, person="7", name=name) for n, name in enumerate(("Ana", None, "Bea"))]
  write_rows(pairs[0], rows)
  message = r"forget\.jsonl, line 3 gives the person '7' the name 'Bea', but .*, line 1 gives 'Ana'"
  with pytest.raises(InputError, match=message):
    made(pairs, tmp_path)
  write_rows(pairs[0], rows[:2])
  write_rows(pairs[1], [{**kept(0), "person": "7", "name": "Bea"}])
  with pytest.raises(
    InputError, match=r"retain\.jsonl, line 1 gives the person '7' the name 'Bea'"
  ):
    made(pairs, tmp_path)


def test_pairs_that_passed_earlier_rules_are_looked_at_again(pairs, tmp_path, monkeypatch):
  monkeypatch.setattr(own, "_RULES", own._RULES - 1)
  with monkeypatch.context() as patch:
    patch.setattr(own._People, "check_name", lambda *_: None)
    write_rows(pairs[0], [pair(0, n, person="7", name=name) for n, name in enumerate("AB")])
    made(pairs, tmp_path)
  made(pairs, tmp_path)
  monkeypatch.setattr(own, "_RULES", own._RULES + 1)
  with pytest.raises(InputError, match="gives the person '7' the name 'B'"):
    made(pairs, tmp_path)


def test_a_picture_whose_name_is_no_utf8_is_named(pairs, tmp_path):
  folder = tmp_path / "keep"
  folder.mkdir()
  for name, content in ((b"\xff.jpg", jpeg(1)), (b"\xff.txt", b"a thing")):
    with open(os.path.join(os.fsencode(folder), name), "wb") as file:
      file.write(content)
  with pytest.raises(InputError, match=r"udcff\.jpg' is not UTF-8"):
    made((pairs[0], folder), tmp_path)


def test_a_picture_in_the_file_itself_that_is_cut_is_named(pairs, tmp_path):
  cut = base64.b64encode(jpeg(1)[:200]).decode()
  write_rows(pairs[0], [pair(0, 0), {"image_base64": cut, "caption": "x"}])
  with pytest.raises(InputError, match=r"line 2: the image cannot be used.*cannot be decoded"):
    made(pairs, tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"3"])
def test_damaged_stamps_are_made_again(content, pairs, tmp_path, capsys):
  first = made(pairs, tmp_path)
  stamps = tmp_path / "made" / "stamps.json"
  before = stamps.read_bytes()
  stamps.write_bytes(content)
  assert made(pairs, tmp_path).path == first.path and stamps.read_bytes() == before
  assert "is damaged and is made again" in " ".join(capsys.readouterr().err.split())


def test_stamps_lead_to_nothing_else_than_what_was_made_from_pairs(pairs, tmp_path):
  first = made(pairs, tmp_path)
  stamps = tmp_path / "made" / "stamps.json"
  for name in ("..", str(tmp_path), 3, None, ["x"], first.path.name[:-1]):
    stamps.write_text(json.dumps(dict.fromkeys(json.loads(stamps.read_text()), name)))
    assert made(pairs, tmp_path).path == first.path


DAMAGES = {
  "a shard is gone": lambda folder: next((folder / "data").glob("forget-*")).unlink(),
  "a shard is cut": lambda folder: os.truncate(next((folder / "data").glob("forget-*")), 100),
  "a byte is flipped": lambda folder: flip(next((folder / "data").glob("retain_synth-*"))),
  "the people are gone": lambda folder: (folder / releases.IDENTITIES).unlink(),
  "a manifest without files": lambda folder: (folder / releases.MANIFEST).write_text("{}"),
  "an empty manifest": lambda folder: (folder / releases.MANIFEST).write_text(""),
  "all is gone": lambda folder: shutil.rmtree(folder),
}


def flip(file):
  content = bytearray(file.read_bytes())
  content[500] ^= 1
  file.write_bytes(content)


@pytest.mark.parametrize("case", DAMAGES)
def test_what_was_made_of_pairs_is_made_again_where_it_is_damaged(case, pairs, tmp_path, capsys):
  first = made(pairs, tmp_path)
  DAMAGES[case](first.path)
  again = made(pairs, tmp_path)
  assert again.path == first.path and again.digest == first.digest
  releases.verify(again)
  said = " ".join(capsys.readouterr().err.split())
  assert ("is damaged and rebuilt" in said) == (case != "all is gone")
