"""The published values beside the measured ones."""

import io
import json

import pytest
from madeup import MADE_UP, everything, save
from rich.console import Console

from salmu_jax.report import leaderboard, writing
from salmu_jax.report.published_table import published_markdown, show_published
from salmu_jax.results import published

PUBLISHED_NAMES = (
  "CLIPErase",
  "DELETE",
  "VLUnlearn",
  "Fine-tuning",
  "Negative gradient",
  "Shuffled captions",
  "Direct similarity minimisation",
  "Generic captions",
)


def test_published_values_are_in_a_markdown_table_of_their_own(plain):
  text = (plain / "leaderboard.md").read_text()
  measured, part = text.split("\n## Published numbers, not measured here\n\n")
  assert measured == leaderboard.markdown(leaderboard.rows(everything()), everything())
  assert part == published_markdown()
  assert "*(published)*" not in measured and "CLIPErase" not in measured
  lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line[:1] == "|"]
  assert {len(line) for line in lines} == {15}
  assert lines[0][:4] == ["model", "budget", "RetFail_R@1", "RetFail_MRR"]
  models = {line[0].removesuffix(" *(published)*"): line for line in lines[2:]}
  assert list(models) == ["Clean", "Compromised", *PUBLISHED_NAMES]
  assert all(line[0].endswith("*(published)*") for line in lines[2:])
  assert models["Clean"][2:5] == ["0.000", "0.000815", "0.14170"]
  assert models["Compromised"][9:11] == ["0.32149", "0.32128"]
  assert models["Direct similarity minimisation"][8:11] == ["0.615", "-0.420", "-0.425"]
  assert models["Fine-tuning"][1] == "5x"
  assert models["Fine-tuning"][-2:] == [
    "loses 63 % of the holdout gap",
    "ineffective + over-generalised",
  ]
  assert models["Generic captions"][2:] == ["-"] * 11 + ["ineffective", "-"]
  assert "arXiv 2603.26316" in part.splitlines()[-1] and part.endswith(".\n")


def test_published_values_are_never_among_the_measured_ones(plain):
  for name in ("leaderboard.csv", "leaderboard.json"):
    text = (plain / name).read_text().lower()
    assert "published" not in text
    assert not [model for model in PUBLISHED_NAMES if model.lower() in text]
  assert len(json.loads((plain / "leaderboard.json").read_text())) == len(MADE_UP)


@pytest.mark.parametrize("width", [60, 100, 200])
def test_published_values_are_printed_on_any_width(width):
  console = Console(file=io.StringIO(), width=width, color_system=None)
  show_published(console, f"{published.DATASET}@b76aa3885a69")
  part = console.file.getvalue().removeprefix("\npublished numbers, not measured here\n")
  lines = part.splitlines()
  assert max(map(len, lines)) <= 100
  cells = {line.split()[0]: line.split() for line in lines if line.strip()}
  clean = ".000 .001 .142 .602 .011 .151 .633 .143 .143 .331 .309 bound"
  assert cells["Clean"][1:] == clean.split()
  clip_erase = ".001 - - - - - .634 .024 .024 - - over-generalised"
  assert cells["CLIPErase"][1:] == clip_erase.split()
  assert cells["Generic"][1:] == ["-"] * 11 + ["ineffective"]
  assert cells["Direct"][7:10] == [".615", "-.420", "-.425"]
  assert "arXiv 2603.26316" in " ".join(part.split())


def test_published_values_are_printed_beside_models_judged_on_the_published_release(tmp_path):
  for name in ("mini", f"{published.DATASET}@b76aa3885a69/benchmark"):
    results = everything()
    for entry in results:
      entry["salmu_jax"]["release"]["name"] = name
    folder = tmp_path / name.partition("/")[0]
    save(folder / "results", *results)
    console = Console(file=io.StringIO(), width=200, color_system=None)
    writing.report_folder(folder / "results", folder / "out", console)
    shown = console.file.getvalue()
    assert "surgery" in shown
    assert ("CLIPErase" in shown) == (name != "mini")
    assert ("leaderboard.md has the published values" in shown) == (name == "mini")
