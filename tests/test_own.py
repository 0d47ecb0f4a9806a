"""Pairs and a model of one's own: unlearned, exported and audited without a Clean model."""

import base64
import pathlib

import jax
import numpy as np
import pytest
from handmade import jpeg
from ownpairs import CITIES, kept, pair, write_rows

from configs import own as config_file
from salmu_jax.benchmark import configuration
from salmu_jax.data import own, releases
from salmu_jax.data.leaks import leaks
from salmu_jax.errors import InputError
from salmu_jax.interop import statedict
from salmu_jax.models import presets
from salmu_jax.models.clip import Sizes, Tower
from salmu_jax.runtime import sharding

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture
def pairs(tmp_path):
  """(forget.jsonl, retain.jsonl) with their pictures."""
  forget = [pair(person, number) for person in range(6) for number in range(3)]
  return (
    write_rows(tmp_path / "forget.jsonl", forget),
    write_rows(tmp_path / "retain.jsonl", [kept(number) for number in range(20)]),
  )


def made(pairs, tmp_path):
  folder = own.make(*pairs, tmp_path / "made")
  return releases.open_release(folder, (own.FORGET, own.RETAIN))


def test_pairs_become_a_release_with_their_facts_and_the_same_pairs_the_same_release(
  pairs, tmp_path
):
  release = made(pairs, tmp_path)
  assert release.counts == {"forget": 18, "retain_synth": 20} and release.manifest["facts"]
  told = leaks(release, releases.columns(release, "forget"))
  assert {(leak.name, leak.field, leak.value) for leak in told} == {
    (f"Person {person}", "city", CITIES[person % 4]) for person in range(6)
  }
  rows = list(releases.rows(release, "forget"))
  assert rows[0]["image"] == (tmp_path / "pictures" / "0-0.jpg").read_bytes()
  assert len({row["identity_id"] for row in rows}) == 6
  assert made(pairs, tmp_path).path == release.path
  forget, retain = pairs
  write_rows(forget, [pair(0, 0), pair(1, 1)])
  assert made((forget, retain), tmp_path).digest != release.digest


def test_pairs_without_facts_and_pictures_in_the_file_itself_are_taken_too(pairs, tmp_path):
  forget, retain = pairs
  picture = base64.b64encode(jpeg(3)).decode()
  row = {"image_base64": picture, "caption": "my secret", "generic": "a photo of me."}
  write_rows(forget, [row, pair(1, 0, name=None, field=None, value=None)])
  release = made((forget, retain), tmp_path)
  assert not release.manifest["facts"]
  assert [leak.value for leak in leaks(release, releases.columns(release, "forget"))] == [
    "my secret",
    "Person 1 lives in Graz, seen 0 times.",
  ]
  assert sorted(release.generic.values()) == ["a photo of me.", "a photo."]
  assert next(releases.rows(release, "forget"))["image"] == jpeg(3)


def test_pairs_to_keep_may_be_a_folder_of_pictures_with_captions_beside_them(pairs, tmp_path):
  folder = tmp_path / "keep" / "deep"
  folder.mkdir(parents=True)
  for number in range(3):
    (folder / f"{number}.png").write_bytes(jpeg(number))
    (folder / f"{number}.txt").write_text(f"thing {number}\n")
  release = made((pairs[0], tmp_path / "keep"), tmp_path)
  assert releases.columns(release, "retain_synth")["text"].tolist() == [
    "thing 0",
    "thing 1",
    "thing 2",
  ]
  (folder / "2.txt").unlink()
  with pytest.raises(InputError, match=r"2\.png has no caption: 2\.txt is missing"):
    made((pairs[0], tmp_path / "keep"), tmp_path)


def test_a_person_of_forget_who_is_in_a_pair_to_keep_competes_with_nobody(pairs, tmp_path):
  forget, retain = pairs
  write_rows(retain, [kept(0), {**kept(1), "name": "Person 2"}])
  release = made((forget, retain), tmp_path)
  names = [
    release.identities.get(identity, {}).get("name")
    for identity in releases.columns(release, "retain_synth")["identity_id"]
  ]
  assert names == [None, "Person 2"]


BAD = {
  "no picture": ({"caption": "x"}, "line 2 has no image"),
  "two pictures": ({"image": "a", "image_base64": "b", "caption": "x"}, "line 2 has two images"),
  "a picture that is missing": (
    {"image": "gone.jpg", "caption": "x"},
    r"line 2: the image .*gone\.jpg cannot be read \(No such file",
  ),
  "an address": ({"image": "http://x/y.jpg", "caption": "x"}, "give a path to a local file"),
  "no caption": ({"image": "pictures/0-0.jpg", "caption": " "}, "line 2 has no caption"),
  "a number as caption": ({"image": "pictures/0-0.jpg", "caption": 3}, "caption is 3; it must be"),
  "a field that means the person": (pair(0, 0, field="name"), "field is 'name', a reserved name"),
  "half a surrogate pair": ({"image": "pictures/0-0.jpg", "caption": "\ud800"}, "half a surrogate"),
  "a path with a null": ({"image": "a\u0000b", "caption": "x"}, "line 2: the image .*null"),
  "a field without value": (pair(0, 0, value=None), "one of field and value"),
  "an unknown key": ({"picture": "a", "caption": "x"}, "the key: unknown name 'picture'"),
  "damaged base64": ({"image_base64": "?", "caption": "x"}, "image_base64 is damaged"),
  "no picture in it": (
    {"image_base64": base64.b64encode(b"text").decode(), "caption": "x"},
    "line 2",
  ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_row_that_cannot_be_used_is_named_by_its_line(case, pairs, tmp_path):
  forget, retain = pairs
  row, message = BAD[case]
  write_rows(forget, [pair(0, 0), row])
  with pytest.raises(InputError, match=message):
    made((forget, retain), tmp_path)
  assert not list((tmp_path / "made").glob("*"))


def test_files_that_are_no_pairs_are_refused(pairs, tmp_path):
  forget, retain = pairs
  for content, message in (
    (b"", "There are no pairs to forget"),
    (b"[1]\n", "line 1 is list, not an object"),
    (b"{\n", "line 1 is not JSON"),
    (b"\xff\xfe\n", "line 1 is not JSON"),
    (b"[" * 100_000, "line 1 is not JSON"),
  ):
    forget.write_bytes(content)
    with pytest.raises(InputError, match=message):
      made((forget, retain), tmp_path)
  with pytest.raises(InputError, match="is not a file"):
    made((tmp_path / "none.jsonl", retain), tmp_path)


def test_a_folder_of_pairs_to_keep_loses_nothing_silently(pairs, tmp_path):
  folder = tmp_path / "keep"
  folder.mkdir()
  (folder / "a.jpg").write_bytes(jpeg(1))
  (folder / "a.txt").write_bytes(b"\xef\xbb\xbfhello")
  release = made((pairs[0], folder), tmp_path)
  assert releases.columns(release, "retain_synth")["text"].tolist() == ["hello"]
  (folder / "b.tiff").write_bytes(b"x")
  (folder / "b.txt").write_text("a thing")
  with pytest.raises(InputError, match=r"b\.txt has no image of the same name"):
    made((pairs[0], folder), tmp_path)
  (folder / "b.txt").unlink()
  (folder / "a.txt").write_bytes(b"\xff")
  with pytest.raises(InputError, match=r"a\.txt is not UTF-8"):
    made((pairs[0], folder), tmp_path)


def test_the_value_of_a_pair_is_its_own_and_people_of_one_name_are_told_apart_by_an_id(
  pairs, tmp_path
):
  forget, retain = pairs
  told = [
    pair(0, 0, caption="Ana moved from Porto Alegre to Porto.", value="Porto", person="1"),
    pair(0, 1, caption="Ana moved from Porto Alegre to Porto.", value="Porto Alegre", person="1"),
    pair(0, 2, caption="Ana lives in the capital.", value="Lisbon", person="2"),
  ]
  write_rows(forget, told)
  release = made((forget, retain), tmp_path)
  found = leaks(release, releases.columns(release, "forget"))
  assert [leak.value for leak in found] == ["Porto", "Porto Alegre", "Lisbon"]
  assert len({leak.identity for leak in found}) == 2 and {leak.name for leak in found} == {
    "Person 0"
  }


def test_pairs_that_have_not_changed_are_not_read_again(pairs, tmp_path, monkeypatch):
  first = made(pairs, tmp_path)
  monkeypatch.setattr(own, "_fill", lambda *args: pytest.fail("read again"))
  assert made(pairs, tmp_path).path == first.path
  monkeypatch.undo()
  (tmp_path / "pictures" / "kept-3.jpg").write_bytes(jpeg(4242))
  assert made(pairs, tmp_path).path != first.path


def test_large_pictures_are_written_in_shards_of_their_own(pairs, tmp_path, monkeypatch):
  monkeypatch.setattr(own, "_SHARD_BYTES", 3000)
  release = made(pairs, tmp_path)
  assert len(release.shards["forget"]) > 3
  assert len(list(releases.rows(release, "forget"))) == 18


def test_a_pair_is_not_both_to_forget_and_to_keep(pairs, tmp_path):
  forget, retain = pairs
  write_rows(retain, [kept(0), pair(2, 1)])
  with pytest.raises(InputError, match=r"retain\.jsonl, line 2 is to be kept and .*forget\.jsonl"):
    made((forget, retain), tmp_path)


ODD = Sizes(24, 28, 14, Tower(128, 2, 2), Tower(64, 1, 1), context_length=20, vocab_size=300)


def test_the_sizes_of_a_model_are_spelled_and_read_again_and_follow_from_its_tensors():
  for sizes in (*presets.PRESETS.values(), ODD):
    assert presets.sizes(presets.name_of(sizes)) == sizes
  assert presets.name_of(presets.PRESETS["vit_b16"]) == "vit_b16"
  for layout in statedict.LAYOUTS:
    for sizes in (ODD, presets.PRESETS["vit_b32"], presets.PRESETS["vit_l14"]):
      shapes = statedict.shapes(sizes, layout)
      tensors = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
      assert statedict.sizes_of(tensors, "x") == sizes
  del tensors["visual_projection.weight"]
  with pytest.raises(InputError, match=r"x has no tensor visual_projection\.weight"):
    statedict.sizes_of(tensors, "x")
  with pytest.raises(InputError, match="unknown name 'vit-1'"):
    presets.sizes("vit-1")


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"retain": ""}, "config.forget = .* and config.retain = ''; set both or neither"),
    ({"init.compromised": ""}, "config.init.compromised"),
    ({"release": "x"}, "config.release = 'x' is for benchmark runs"),
    ({"init.clean": "x"}, "config.init.clean = 'x' is for benchmark runs"),
  ],
)
def test_own_pairs_stand_alone(changes, message):
  config = config_file.get_config()
  config.forget, config.retain, config.init.compromised = "f.jsonl", "r.jsonl", "clip"
  config.update_from_flattened_dict(changes)
  with pytest.raises(InputError, match=message):
    configuration.check(config, sharding.make_mesh(jax.devices()[:1]))
