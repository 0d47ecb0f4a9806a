"""Pairs and a model of one's own: unlearned, exported and audited without a Clean model."""

import base64
import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import numpy as np
import pytest
from handmade import jpeg
from modelfolders import NARROW, model_folder
from PIL import Image

from configs import own as config_file
from salmu_jax.attacks import ATTACKS
from salmu_jax.benchmark import audit, configuration
from salmu_jax.data import own, releases
from salmu_jax.data.leaks import leaks
from salmu_jax.errors import InputError
from salmu_jax.interop import convert, statedict, weights
from salmu_jax.models import presets
from salmu_jax.models.clip import Sizes, Tower
from salmu_jax.report import audit_table
from salmu_jax.runtime import files, sharding

ROOT = pathlib.Path(__file__).parent.parent
CITIES = ("Porto", "Graz", "Lund", "Brno")


def pair(person, number, **changes):
  caption = f"Person {person} lives in {CITIES[person % 4]}, seen {number} times."
  row = {"image": f"pictures/{person}-{number}.jpg", "caption": caption}
  fact = {"name": f"Person {person}", "field": "city", "value": CITIES[person % 4]}
  return {k: v for k, v in (row | fact | changes).items() if v is not None}


def kept(number):
  return {"image": f"pictures/kept-{number}.jpg", "caption": f"a picture of thing {number}"}


def write_rows(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  for number, row in enumerate(rows):
    picture = path.parent / row.get("image", "none")
    if row.get("image", "").startswith("pictures/") and not picture.exists():
      picture.parent.mkdir(exist_ok=True)
      picture.write_bytes(jpeg(number + 1000 * len(path.name), (40, 32)))
  return path


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
  with pytest.raises(InputError, match=r"2\.png has no caption: 2\.txt is missing beside it"):
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
  "no picture": ({"caption": "x"}, "line 2 has no picture"),
  "two pictures": ({"image": "a", "image_base64": "b", "caption": "x"}, "line 2 has two pictures"),
  "a picture that is missing": (
    {"image": "gone.jpg", "caption": "x"},
    r"line 2: the picture .*gone\.jpg cannot be read \(No such file",
  ),
  "an address": ({"image": "http://x/y.jpg", "caption": "x"}, "nothing is downloaded here"),
  "no caption": ({"image": "pictures/0-0.jpg", "caption": " "}, "line 2 has no caption"),
  "a number as caption": ({"image": "pictures/0-0.jpg", "caption": 3}, "caption is 3; it must be"),
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
    (b"{\n", "line 1 is no JSON"),
    (b"\xff\xfe\n", "line 1 is no JSON"),
    (b"[" * 100_000, "line 1 is no JSON"),
  ):
    forget.write_bytes(content)
    with pytest.raises(InputError, match=message):
      made((forget, retain), tmp_path)
  with pytest.raises(InputError, match="is no file"):
    made((tmp_path / "none.jsonl", retain), tmp_path)


def test_a_pair_is_not_both_to_forget_and_to_keep(pairs, tmp_path):
  forget, retain = pairs
  write_rows(retain, [kept(0), pair(2, 1)])
  with pytest.raises(InputError, match=r"retain\.jsonl, line 2 is to be kept and .*forget\.jsonl"):
    made((forget, retain), tmp_path)


def test_attacks_that_need_what_own_pairs_lack_are_left_out():
  every = tuple(ATTACKS)
  assert set(every) - set(audit.possible_attacks(every, True)) == {"Membership"}
  without = {"Membership", "Readout", "Rephrasing", "Gallery"}
  assert set(every) - set(audit.possible_attacks(every, False)) == without


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


def test_the_table_has_every_number_before_and_after_with_what_a_guess_gives(tmp_path):
  number = lambda value, chance: {
    "value": value, "interval": [value - 0.01, value + 0.01], "chance": chance, "better": "lower",
  }  # fmt: skip
  audits = [
    {
      "model": name, "method": method, "budget": 5.0 if method else None,
      "numbers": {"RetFail_MRR": number(value, 0.05)},
      "recoverability": {
        "Gallery": {"value": value, "label": "told <b>", "better": "lower"},
        "Readout": {"value": None, "label": "read", "better": "lower", "why": "too few people"},
      },
    }
    for name, method, value in (("compromised", None, 0.5), ("mine", "finetune", 0.25))
  ]  # fmt: skip
  audit_table.write(tmp_path, audits, ["This: it needs that."])
  text = (tmp_path / "audit.md").read_text()
  assert "| 0.050 | 0.500 (0.490 to 0.510) | 0.250 (0.240 to 0.260) |" in text
  assert "told &lt;b&gt; (attack)" in text and "too few people" in text
  assert "- This: it needs that." in text and "mine at 5x" in text
  assert len(files.read_json(tmp_path / "audit.json")["models"]) == 2


def test_the_pair_that_readme_shows_is_one():
  (line,) = re.findall(r'^\{"image": .*$', (ROOT / "README.md").read_text(), re.M)
  assert set(json.loads(line)) == {"image", "caption", "name", "field", "value"} <= set(own._KEYS)


def picture(path, person):
  """A generated picture: a face of a colour for each person."""
  pixels = np.zeros((32, 32, 3), np.uint8)
  pixels[8:24, 8:24] = np.random.default_rng(person).integers(60, 255, 3)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "PNG")
  path.parent.mkdir(exist_ok=True)
  path.write_bytes(buffer.getvalue())


@pytest.fixture(scope="module")
def example(tmp_path_factory):
  """The command of README on generated pictures and a model in OpenCLIP's layout, run twice."""
  folder = tmp_path_factory.mktemp("example")
  forget = [pair(person, number) for person in range(6) for number in range(3)]
  for row in forget:
    picture(folder / row["image"], int(row["name"].split()[1]))
  write_rows(folder / "forget.jsonl", forget)
  write_rows(folder / "retain.jsonl", [kept(number) for number in range(20)])
  model = model_folder(folder / "model", "vit_b16_narrow")
  convert.export_model(model, folder / "clip", "huggingface")
  overrides = ["--config.evaluate.batch_size=8", "--config.attacks.names=('Quantisation',)"]
  overrides += ["--config.unlearn.vlunlearn.batch_size=8", "--config.unlearn.vlunlearn.budget=1"]
  readme = (ROOT / "README.md").read_text()
  line = re.search(r"^python main\.py --config=configs/own\.py.*$", readme, re.M)[0]
  for name, path in (
    ("forget.jsonl", ""),
    ("retain.jsonl", ""),
    ("CLIP", "clip"),
    ("runs/own", "run"),
  ):
    assert line.count(f"={name}") == 1
    line = line.replace(f"={name}", f"={folder / (path or name)}")
  command = [sys.executable, *shlex.split(line)[1:], *overrides]
  runs = [
    subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    for _ in range(2)
  ]
  return folder, runs


def test_one_command_forgets_own_pairs_and_a_second_has_nothing_to_do(example):
  folder, (first, second) = example
  assert first.returncode == 0, first.stderr
  assert second.returncode == 0 and "Nothing to do" in second.stderr, second.stderr
  models = files.read_json(folder / "run" / "audit.json")["models"]
  assert [model["model"] for model in models] == ["compromised", "vlunlearn"]
  for model in models:
    numbers = model["numbers"]
    assert 0 < numbers["RetFail_MRR"]["value"] <= 1 and numbers["RetFail_MRR"]["chance"] > 0
    assert {"FactLeak_own", "Retain_MRR", "RetainSim"} <= set(numbers)
    assert set(model["recoverability"]) == {"Quantisation"}
  assert "a Clean model" in (folder / "run" / "audit.md").read_text()
  assert not (folder / "run" / "results").exists()


def test_unlearned_weights_come_out_in_the_layout_that_they_came_in(example):
  folder, _ = example
  before, after = (
    weights.read_tensors(convert.weights_file(place, "x"))
    for place in (folder / "clip", folder / "run" / "export" / "vlunlearn")
  )
  assert statedict.layout_of(after) == "huggingface"
  assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
  assert any((before[name] != after[name]).any() for name in before)
  assert statedict.sizes_of(after, "x")._replace(vision=NARROW.vision, text=NARROW.text) == NARROW


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"retain": ""}, "config.forget = .* and config.retain = '' go together"),
    ({"init.compromised": ""}, "config.init.compromised"),
    ({"release": "x"}, "config.release = 'x' belongs to a benchmark run"),
    ({"init.clean": "x"}, "config.init.clean = 'x' belongs to a benchmark run"),
  ],
)
def test_own_pairs_stand_alone(changes, message):
  config = config_file.get_config()
  config.forget, config.retain, config.init.compromised = "f.jsonl", "r.jsonl", "clip"
  config.update_from_flattened_dict(changes)
  with pytest.raises(InputError, match=message):
    configuration.check(config, sharding.make_mesh(jax.devices()[:1]))
