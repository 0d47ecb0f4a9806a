"""One command forgets own pairs with an own model: audit, report, weights out."""

import io
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import types

import numpy as np
import pytest
from modelfolders import NARROW, model_folder
from ownpairs import kept, pair, write_rows
from PIL import Image

from salmu_jax.attacks import ATTACKS
from salmu_jax.benchmark import audit
from salmu_jax.data import own_rows
from salmu_jax.interop import convert, origin, statedict, weights
from salmu_jax.report import audit_table
from salmu_jax.runtime import files

ROOT = pathlib.Path(__file__).parent.parent


def test_attacks_that_need_what_own_pairs_lack_are_left_out():
  every = tuple(ATTACKS)
  assert set(every) - set(audit.possible_attacks(every, True)) == {"Membership"}
  without = {"Membership", "Readout", "Rephrasing", "Gallery"}
  assert set(every) - set(audit.possible_attacks(every, False)) == without


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
  audit_table.write(tmp_path, audits, ["This: it needs that."], "18 pairs to forget.")
  text = (tmp_path / "audit.md").read_text()
  assert "| 0.050 | 0.500 (0.490 to 0.510) | 0.250 (0.240 to 0.260) |" in text
  assert "told &lt;b&gt; (attack)" in text and "too few people" in text
  assert "- This: it needs that." in text and "mine at 5x" in text
  assert len(files.read_json(tmp_path / "audit.json")["models"]) == 2


def test_the_pair_that_the_page_on_own_pairs_shows_is_one():
  (line,) = re.findall(r'^\{"image": .*$', (ROOT / "docs" / "own.md").read_text(), re.M)
  assert (
    set(json.loads(line)) == {"image", "caption", "name", "field", "value"} <= set(own_rows.KEYS)
  )


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
  """docs/own.md's command on generated pictures and a model of OpenCLIP's layout, run twice."""
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
  page = (ROOT / "docs" / "own.md").read_text()
  line = re.search(r"^python main\.py --config=configs/own\.py.*$", page, re.M)[0]
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
  card = (folder / "run" / "export" / "vlunlearn" / "README.md").read_text()
  assert "audit.md" in card and "fictitious" not in card and "SALMUBench" not in card


def test_what_was_deleted_or_made_anew_is_exported_and_reported_again(example):
  folder, _ = example
  (folder / "run" / "export" / "vlunlearn" / origin.FILE).write_text("{}")
  job = types.SimpleNamespace(
    workdir=folder / "run",
    model_folder=lambda name: folder / "run" / "models" / name,
    config=types.SimpleNamespace(unlearn=("vlunlearn",)),
  )
  assert not audit._is_exported(job, "vlunlearn")
  audit._export(job, "vlunlearn")
  assert audit._is_exported(job, "vlunlearn")
  card = (folder / "run" / "export" / "vlunlearn" / "README.md").read_text()
  assert "audit.md" in card and "fictitious" not in card and "salmubench" not in card.lower()


def test_a_guess_is_among_captions_of_other_words(monkeypatch):
  texts = np.array(["the same"] * 4 + ["other"])
  evaluator = types.SimpleNamespace(
    tables={"forget": {"text": texts, "identity_id": np.array(list("abcde"))}},
    ranks=lambda z: np.zeros(5, int),
    gallery=lambda: np.array(["the same"] * 4 + ["other", "kept"]),
    general_knowledge=lambda z: None,
  )
  z = types.SimpleNamespace(
    image={"forget": np.eye(5, dtype=np.float32)}, of=lambda t: np.eye(5, dtype=np.float32)
  )
  monkeypatch.setattr(audit, "_kept", lambda *args: {})
  found = audit.measure(evaluator, {}, z, 0, False)
  guess = lambda n: sum(1 / k for k in range(1, n + 1)) / n
  assert found["RetFail_MRR"]["chance"] == pytest.approx((4 * guess(3) + guess(6)) / 5)
  assert found["RetFail_R@1"]["chance"] == pytest.approx((4 / 3 + 1 / 6) / 5)


def test_unlearned_weights_come_out_in_the_layout_that_they_came_in(example):
  folder, _ = example
  before, after = (
    weights.read_tensors(weights.file_of(place, "x"))
    for place in (folder / "clip", folder / "run" / "export" / "vlunlearn")
  )
  assert statedict.layout_of(after) == "huggingface"
  assert {k: v.shape for k, v in before.items()} == {k: v.shape for k, v in after.items()}
  assert any((before[name] != after[name]).any() for name in before)
  assert statedict.sizes_of(after, "x")._replace(vision=NARROW.vision, text=NARROW.text) == NARROW
