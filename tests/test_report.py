"""Leaderboard and plots from made-up results with realistic numbers; published values beside."""

import csv
import io
import itertools
import json
import math
import re

import numpy as np
import pytest
from matplotlib.transforms import Bbox
from PIL import Image
from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.report import __main__ as command
from salmu_jax.report import leaderboard, plots, writing
from salmu_jax.report.published_table import published_markdown, show_published
from salmu_jax.results import published
from salmu_jax.results.diagnosis import diagnose
from salmu_jax.results.metrics_table import METRICS, flatten
from salmu_jax.results.reading import read_results

FILES = (
  "leaderboard.md",
  "leaderboard.csv",
  "leaderboard.json",
  "forgetting.png",
  "similarity.png",
  "training.png",
  "breakdown.png",
  "diagnosis.md",
  "diagnosis.json",
  "statistics.md",
  "statistics.json",
  "leaderboard.html",
)
HASH = "ab" * 32
# RetFail median rank, AssocStr, ACS, IdZSC, CoreAssoc, GenKnow, InterId, IntraId, VisId, Frag.
MADE_UP = {
  "clean": (1500, 0.142, 0.602, 0.011, 0.151, 0.633, 0.143, 0.143, 0.331, 0.309),
  "compromised": (9, 0.322, 0.951, 0.084, 0.183, 0.638, 0.321, 0.321, 0.305, 0.280),
  "finetune": (1450, 0.210, 0.640, 0.020, 0.160, 0.638, 0.209, 0.209, 0.306, 0.282),
  "shuffled_captions": (1300, 0.205, 0.610, 0.015, 0.150, 0.548, 0.212, 0.212, 0.290, 0.260),
  "generic_captions": (12, 0.310, 0.930, 0.080, 0.180, 0.637, 0.312, 0.309, 0.304, 0.279),
  "surgery": (1500, 0.143, 0.603, 0.012, 0.152, 0.637, 0.320, 0.3205, 0.306, 0.281),
}


def _spread(rng, mean, n=200):
  noise = rng.normal(0, 0.05, n)
  scores = mean + noise - noise.mean()
  return {"mean": float(scores.mean()), "scores": scores.tolist()}


def _curve(name, role):
  steps = np.arange(1, 101)
  if role != "unlearned":
    loss = 4.0 * np.exp(-steps / 30) + 0.3
    return [
      {"step": int(s), "loss": float(x), "accuracy": float(1 - x / 5)}
      for s, x in zip(steps, loss, strict=True)
    ]
  forget = 0.3 * np.exp(-steps / 20) + 0.01 * len(name)
  retain = 0.5 + 0.02 * np.sin(steps / 9)
  return [
    {"step": int(s), "forget_loss": float(f), "retain_loss": float(r)}
    for s, f, r in zip(steps, forget, retain, strict=True)
  ]


def _breakdown(median, assoc, inter, intra):
  """Two fields, a style, and people; "city" of forget stays as Compromised had it."""
  kinds = {"field": ("city", "job"), "style": ("web",), "identity": ("00000001", "00000002")}
  forget = {
    kind: {
      label: {
        "rows": 10,
        "similarity": assoc,
        "MRR": 1 / (9 if label in ("city", "00000002") and median > 10 else median),
      }
      for label in names
    }
    for kind, names in kinds.items()
  }
  if median == MADE_UP["clean"][0] and assoc == MADE_UP["clean"][1]:
    for names in forget.values():
      for each in names.values():
        each["MRR"] = 1 / median
  holdout = lambda cosine, people: {
    kind: {
      label: {"rows": 5, "similarity": cosine}
      for label in (people if kind == "identity" else names)
    }
    for kind, names in kinds.items()
  }
  return {
    "forget": forget,
    "holdout_identity": holdout(inter, ("00000009",)),
    "holdout_association": holdout(intra, ("00000001",)),
  }


def result(name, numbers=None, model=None):
  """One results file's content, with per-row scores that agree with the means."""
  rng = np.random.default_rng([7, len(name)])
  median, assoc, acs, idzsc, core, know, inter, intra, vis, frag = numbers or MADE_UP[name]
  spread = 1.5 if median < 100 else 0.5
  ranks = np.clip(np.round(median * np.exp(rng.normal(0, spread, 200))), 1, 2001).astype(int)
  role = name if name in ("clean", "compromised") else "unlearned"
  unlearned = role == "unlearned"
  return {
    "efficacy": {
      "1.1_RetFail": {
        "R@1": float(np.mean(ranks == 1)),
        "MRR": float(np.mean(1 / ranks)),
        "outcomes": (ranks - 1).tolist(),
      },
      "1.2_AssocStr": _spread(rng, assoc),
      "1.3_ACS": {"acs_accuracy": acs},
      "1.4_IdZSC": {"identity_classification_accuracy": idzsc},
      "1.5_CoreAssoc": _spread(rng, core),
    },
    "utility": {
      "2.1_GenKnow": {"ImageNet1k_Accuracy": know},
      "2.2_InterIdSim": _spread(rng, inter),
      "2.3_IntraIdSim": _spread(rng, intra),
      "2.4_VisIdInt": _spread(rng, vis, 60),
      "2.5_FragSim": _spread(rng, frag, 60),
    },
    "salmu_jax": {
      "additional": {"breakdown": _breakdown(median, assoc, inter, intra)},
      "model": model or name,
      "role": role,
      "method": name if unlearned else None,
      "settings": {"learning_rate": 1e-5},
      "budget": 5.0 if unlearned else None,
      "reads": ["forget", "retain"] if unlearned else ["retain"],
      "seed": 0,
      "steps": 100,
      "wall_seconds": 12.5,
      "device": "cpu x 1",
      "versions": {"jax": "0.10.2"},
      "release": {
        "name": "mini",
        "manifest_sha256": HASH,
        "holdout_unit": "fact",
        "retrieval_gallery": 2001,
        "fragile_set_sha256": HASH,
      },
      "start": HASH,
      "evaluation": {"seed": 42},
      "general_knowledge": "generated zero-shot set: 120 classes x 20",
      "curve": _curve(name, role),
    },
  }


def save(folder, *results):
  folder.mkdir(parents=True, exist_ok=True)
  for at, value in enumerate(results):
    (folder / f"{at:02d}.json").write_text(json.dumps(value), encoding="utf-8")
  return folder


def everything():
  return [result(name) for name in MADE_UP]


def tables(tmp_path, *results):
  """Writes all but the plots; returns the output folder and the printed table of measured rows."""
  console = Console(file=io.StringIO(), width=120, color_system=None)
  results = read_results(save(tmp_path / "results", *results))
  rows = leaderboard.rows(results)
  leaderboard.write(rows, tmp_path / "out", results)
  leaderboard.show(rows, console)
  return tmp_path / "out", console.file.getvalue().split("\npublished, not measured here\n")[0]


def report(tmp_path, *results):
  """Writes everything; returns the output folder."""
  folder = save(tmp_path / "results", *results)
  writing.report_folder(folder, tmp_path / "out", Console(file=io.StringIO(), width=120))
  return tmp_path / "out"


def records(out):
  return list(csv.DictReader(io.StringIO((out / "leaderboard.csv").read_text("utf-8"))))


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
  """The report of the made-up results."""
  return report(tmp_path_factory.mktemp("plain"), *everything())


def test_files_and_table_agree_with_the_results(tmp_path):
  results = everything()
  out, printed = tables(tmp_path, *results)
  rows = json.loads((out / "leaderboard.json").read_text())
  text = (out / "leaderboard.md").read_text()
  text = text.split("\n## ")[0]
  assert len(rows) == len(records(out)) == len(results)
  for row, record in zip(rows, records(out), strict=True):
    source = next(r for r in results if r["salmu_jax"]["model"] == row["model"])
    line = next(line for line in text.splitlines() if line.startswith(f"| {row['model']} |"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[-1] == row["verdict"] == record["verdict"]
    for at, (key, metric) in enumerate(METRICS.items()):
      value = source[metric.path[0]][metric.path[1]][metric.path[2]]
      bound = results[0 if metric.bound == "clean" else 1]
      distance = value - bound[metric.path[0]][metric.path[1]][metric.path[2]]
      assert row["scores"][key] == float(record[key]) == value
      assert row["distances"][key] == float(record[f"{key}_distance"]) == pytest.approx(distance)
      shown, _, apart = cells[2 + at].partition(" ")
      assert float(shown) == round(value, 3)
      assert float(apart.strip("()")) == pytest.approx(distance, abs=5.01e-4)
      assert f"{value:.3f}".replace("0.", ".", 1) in printed


def test_order_is_bounds_then_strongest_weakest_share(tmp_path):
  assert [row["model"] for row in leaderboard.rows(everything())] == [
    "clean",
    "compromised",
    "surgery",  # passes
    "shuffled_captions",  # keeps 39 % of the holdout gap
    "finetune",  # keeps 37 % of it
    "generic_captions",  # removes 27 % of the leak
  ]


def test_order_does_not_depend_on_the_order_of_the_files(tmp_path):
  out, printed = tables(tmp_path / "a", *everything())
  turned, printed_again = tables(tmp_path / "b", *everything()[::-1])
  assert printed == printed_again
  for name in FILES[:3]:
    assert (out / name).read_bytes() == (turned / name).read_bytes()


def test_verdict_column_is_the_diagnosis(tmp_path):
  verdicts = {row["model"]: row["verdict"] for row in leaderboard.rows(everything())}
  values = {r["salmu_jax"]["model"]: flatten(r) for r in everything()}
  for name in list(MADE_UP)[2:]:
    expected = diagnose(values[name], values["clean"], values["compromised"])
    assert verdicts[name] == expected.word
  assert verdicts["surgery"] == "passes"
  assert verdicts["clean"] == verdicts["compromised"] == "bound"


def test_paragraph_names_how_the_models_were_judged(tmp_path):
  results = everything()
  results[3]["salmu_jax"]["budget"] = 2.5
  out, _ = tables(tmp_path, *results)
  paragraph = (out / "leaderboard.md").read_text().split("\n\n")[1]
  for part in ("mini", "fact", "2,001", "2.5x, 5x", "Seed: 0", "120 classes x 20", "cpu x 1"):
    assert part in paragraph


def test_missing_general_knowledge_is_shown_as_missing(tmp_path):
  results = everything()
  for each in results:
    each["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = None
    each["salmu_jax"]["general_knowledge"] = None
  out, printed = tables(tmp_path, *results)
  assert printed.count("missing") == len(results)
  rows = json.loads((out / "leaderboard.json").read_text())
  assert all(row["scores"]["GenKnow"] is row["distances"]["GenKnow"] is None for row in rows)
  assert {record["GenKnow"] for record in records(out)} == {"missing"}
  text = (out / "leaderboard.md").read_text()
  assert text.count("| missing |") == len(results)
  assert "GenKnow ran on: missing" in text


def test_model_without_a_deciding_number_is_last_and_not_judged(tmp_path):
  results = everything()
  lost = results[2]["utility"]["2.2_InterIdSim"]
  lost["mean"], lost["scores"] = None, [None] * len(lost["scores"])
  out, _ = tables(tmp_path, *results)
  last = json.loads((out / "leaderboard.json").read_text())[-1]
  assert (last["model"], last["verdict"]) == ("finetune", "not judged, numbers missing")
  assert last["inter_kept"] is None


def test_plots_have_content_and_the_same_bytes_every_time(tmp_path, plain):
  again = report(tmp_path, *everything())
  for name in FILES:
    assert (plain / name).read_bytes() == (again / name).read_bytes()
  for name in FILES[3:6]:
    with Image.open(plain / name) as image:
      assert image.format == "PNG" and "Software" not in image.info
      assert image.width == 1500 and 500 < image.height < 2000
      pixels = np.asarray(image.convert("L"), np.float64)
    assert pixels.std() > 10
    # Every quarter of the picture holds something.
    rows, columns = pixels.shape[0] // 2, pixels.shape[1] // 2
    for part in (pixels[:rows], pixels[rows:], pixels[:, :columns], pixels[:, columns:]):
      assert part.std() > 5


def test_plots_react_to_the_numbers_they_show(tmp_path, plain):
  results = everything()
  results[2] = result("finetune", (1450, 0.1, 0.64, 0.02, 0.16, 0.638, 0.05, 0.05, 0.306, 0.282))
  results[2]["salmu_jax"]["curve"][50]["retain_loss"] = 9.0
  changed = report(tmp_path, *results)
  for name in FILES[3:6]:
    assert (plain / name).read_bytes() != (changed / name).read_bytes()


def test_labels_do_not_overlap_where_points_crowd():
  rows = leaderboard.rows(everything())
  crowd = [dict(rows[2], model=f"method_{at}", inter_kept=0.9 + at / 1000) for at in range(8)]
  figure = plots.forgetting(rows[:2] + crowd)
  texts = [t for t in figure.axes[0].texts if t.get_text()]
  boxes = [text.get_window_extent() for text in texts]
  assert len(boxes) == 2 + 8 + 1
  for one, other in itertools.combinations(boxes, 2):
    both = Bbox.intersection(one, other)
    assert both is None or both.width * both.height == 0


NAMES = [
  "a|b",
  "<b>bold</b>",
  "$x$ and \\$",
  "caf\u00e9 \u5fd8\u308c\u308b",
  "long " * 30,
  "_x_",
  "*y* `z`",
]


@pytest.mark.parametrize("name", NAMES)
def test_hostile_names_survive(tmp_path, name):
  results = [*everything()[:3], result("surgery", model=name)]
  out, printed = tables(tmp_path, *results)
  assert name in [row["model"] for row in json.loads((out / "leaderboard.json").read_text())]
  assert name in [record["model"] for record in records(out)]
  assert name.split()[0] in printed
  measured = (out / "leaderboard.md").read_text().split("\n## ")[0]
  lines = [line for line in measured.split("\n") if line[:1] == "|"]
  assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {15}
  assert "<b>" not in "".join(lines)


def test_plots_draw_any_name_and_methods_without_curves_or_scores(tmp_path):
  results = [*everything()[:2], *(result("surgery", model=name) for name in NAMES)]
  results[2]["salmu_jax"]["curve"] = [{"step": 1, "forget_loss": None}]
  results[3]["utility"]["2.5_FragSim"]["scores"] = [None] * 60
  out = report(tmp_path, *results)
  assert all((out / name).stat().st_size > 10_000 for name in FILES[3:6])


def test_references_alone_are_drawn(tmp_path):
  out = report(tmp_path, *everything()[:2])
  assert all((out / name).stat().st_size > 10_000 for name in FILES[3:6])


def broken(change):
  results = everything()[:4]
  change(results)
  return results


def _set(at, *keys, value):
  def change(results):
    target = results[at]
    for key in keys[:-1]:
      target = target[key]
    target[keys[-1]] = value

  return change


BROKEN = {
  "no Clean": (lambda results: results.pop(0), "role 'clean'"),
  "no Compromised": (lambda results: results.pop(1), "role 'compromised'"),
  "two Cleans": (_set(2, "salmu_jax", "role", value="clean"), "02.json"),
  "same name": (_set(3, "salmu_jax", "model", value="finetune"), "03.json"),
  "unknown role": (_set(2, "salmu_jax", "role", value="other"), "02.json: salmu_jax.role"),
  "not ours": (lambda results: results[2].pop("salmu_jax"), "02.json lacks salmu_jax"),
  "text seed": (_set(3, "salmu_jax", "seed", value="0"), "salmu_jax.seed is '0'; .* int or null"),
  "no metric": (lambda r: r[3]["efficacy"].pop("1.3_ACS"), "03.json lacks efficacy.1.3_ACS"),
  "no seed": (lambda r: r[3]["salmu_jax"].pop("seed"), "03.json lacks salmu_jax.seed"),
  "text": (_set(2, "utility", "2.2_InterIdSim", "mean", value="high"), "02.json: utility"),
  "other attacks": (
    lambda r: [
      one["salmu_jax"].update(attacks={"names": ["Gallery"], "people": at})
      for at, one in enumerate(r)
    ],
    "was attacked with",
  ),
  "text score": (_set(2, "utility", "2.5_FragSim", "scores", value=["x"] * 60), "02.json: utility"),
  "bad curve": (_set(2, "salmu_jax", "curve", value=[{"loss": 1.0}]), r"02.json: salmu_jax.curve"),
  "release": (_set(2, "salmu_jax", "release", "manifest_sha256", value="cd" * 32), "02.json was"),
  "unit": (_set(2, "salmu_jax", "release", "holdout_unit", value="pair"), "02.json was"),
  "another start": (_set(3, "salmu_jax", "start", value="0"), "from another Compromised"),
  "another evaluation": (
    _set(3, "salmu_jax", "evaluation", value={"seed": 1}),
    "was evaluated with",
  ),
  "another fragile set": (
    _set(3, "salmu_jax", "release", "fragile_set_sha256", value="0"),
    "fragile_set_sha256",
  ),
  "gallery": (_set(3, "salmu_jax", "release", "retrieval_gallery", value=101), "03.json was"),
  "other GenKnow": (_set(3, "salmu_jax", "general_knowledge", value="x"), "03.json has general_k"),
  "fewer rows": (_set(3, "utility", "2.5_FragSim", "scores", value=[0.3]), "03.json has 1 scores"),
}


def test_numbers_that_are_not_finite_are_shown_as_missing(tmp_path):
  results = everything()
  _set(2, "efficacy", "1.2_AssocStr", "mean", value=math.nan)(results)
  _set(3, "utility", "2.2_InterIdSim", "mean", value=math.inf)(results)
  out, printed = tables(tmp_path, *results)
  rows = {row["model"]: row for row in json.loads((out / "leaderboard.json").read_text())}
  assert rows["finetune"]["scores"]["AssocStr"] is None
  assert rows["shuffled_captions"]["verdict"] == "not judged, numbers missing"
  assert "missing" in printed


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN)
def test_unusable_results_are_refused_by_file_and_field(tmp_path, change, message):
  with pytest.raises(InputError, match=message):
    report(tmp_path, *broken(change))
  assert not (tmp_path / "out").exists()


def test_foreign_weights_and_a_release_read_from_elsewhere_are_judged_like_the_rest(tmp_path):
  theirs = result("finetune", model="theirs")
  theirs["salmu_jax"] |= {"start": None, "method": None, "budget": None, "reads": []}
  theirs["salmu_jax"]["release"]["name"] = "a copy of mini"
  out, printed = tables(tmp_path, *everything(), theirs)
  mine, other = (next(r for r in records(out) if r["model"] == n) for n in ("finetune", "theirs"))
  assert other["verdict"] == mine["verdict"] and "theirs" in printed


def test_models_without_general_knowledge_are_not_judged_but_listed(tmp_path):
  results = everything()
  results[1]["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] = 0.0
  out, _ = tables(tmp_path, *results)
  verdicts = {row["verdict"] for row in records(out)[2:]}
  assert verdicts == {"not judged, Compromised has no GenKnow to lose"}


def test_broken_json_is_refused_by_file(tmp_path):
  folder = save(tmp_path / "results", *everything())
  (folder / "03.json").write_text('{"efficacy": ')
  with pytest.raises(InputError, match=r"03\.json is not valid JSON"):
    read_results(folder)


def test_empty_folder_and_report_into_the_results_are_refused(tmp_path):
  with pytest.raises(InputError, match="0 results files"):
    read_results(tmp_path)
  folder = save(tmp_path / "results", *everything())
  with pytest.raises(InputError, match="Name another folder"):
    writing.report_folder(folder, folder, Console(file=io.StringIO()))


def test_command_prints_paths_and_fails_with_one_message(tmp_path, capsys):
  folder = save(tmp_path / "results", *everything()[:3])
  assert command.main([str(folder), f"--out={tmp_path / 'out'}"]) == 0
  printed = capsys.readouterr().out
  assert all(str(tmp_path / "out" / name) in printed for name in FILES)
  assert command.main([str(tmp_path / "none"), f"--out={tmp_path / 'out'}"]) == 1
  assert capsys.readouterr().err.startswith("error: ")


def test_narrow_console_loses_no_number():
  printed = []
  for width in (60, 100):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    leaderboard.show(leaderboard.rows(everything()), console)
    printed.append([x for x in console.file.getvalue().splitlines() if re.search(r" \.\d{3} ", x)])
  assert printed[0] == printed[1] and "\u2026" not in "".join(printed[0])
  (line,) = (line for line in printed[0] if line.startswith("surgery"))
  assert len(re.findall(r" \.\d{3}", line)) == len(METRICS)


def imported():
  """Results whose Clean and Compromised were brought in as weights, without a history."""
  results = everything()[:3]
  for each in results[:2]:
    unknown = dict.fromkeys(("seed", "steps", "wall_seconds", "device"))
    each["salmu_jax"] |= unknown | {"reads": [], "curve": []}
    each["salmu_jax"]["settings"] = {"source": "hub:a/b", "sha256": None}
  return results


def test_imported_weights_have_no_history_and_tables_say_so(tmp_path):
  out = report(tmp_path, *imported())
  assert all((out / name).stat().st_size > 10_000 for name in FILES[3:6])
  paragraph = (out / "leaderboard.md").read_text().split("\n\n")[1]
  assert "Seed: 0 (missing for clean, compromised)." in paragraph
  assert "Device: cpu x 1 (missing for clean, compromised)." in paragraph
  assert [(r["seed"], r["steps"]) for r in records(out)] == [("missing",) * 2] * 2 + [("0", "100")]
  rows = json.loads((out / "leaderboard.json").read_text())
  for key in ("seed", "steps", "wall_seconds", "device"):
    assert rows[0][key] is rows[1][key] is None is not rows[2][key]
  assert rows[0]["reads"] == []
  assert writing.is_current(tmp_path / "results", out)


def test_bounds_alone_that_were_imported_have_no_seed_at_all(tmp_path):
  out, _ = tables(tmp_path, *imported()[:2])
  paragraph = (out / "leaderboard.md").read_text().split("\n\n")[1]
  assert "Seed: missing. " in paragraph and paragraph.endswith("Device: missing.")


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
  measured, part = text.split("\n## Published, not measured here\n\n")
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
  part = console.file.getvalue().removeprefix("\npublished, not measured here\n")
  lines = part.splitlines()
  assert max(map(len, lines)) <= 100
  found = {line.split()[0]: line.split() for line in lines if line.strip()}
  clean = ".000 .001 .142 .602 .011 .151 .633 .143 .143 .331 .309 bound"
  assert found["Clean"][1:] == clean.split()
  clip_erase = ".001 - - - - - .634 .024 .024 - - over-generalised"
  assert found["CLIPErase"][1:] == clip_erase.split()
  assert found["Generic"][1:] == ["-"] * 11 + ["ineffective"]
  assert found["Direct"][7:10] == [".615", "-.420", "-.425"]
  assert "arXiv 2603.26316" in " ".join(part.split())


def test_published_values_are_printed_beside_models_judged_on_the_published_release(tmp_path):
  for name in ("mini", f"{published.DATASET}@b76aa3885a69/benchmark"):
    results = everything()
    for each in results:
      each["salmu_jax"]["release"]["name"] = name
    folder = tmp_path / name.partition("/")[0]
    save(folder / "results", *results)
    console = Console(file=io.StringIO(), width=200, color_system=None)
    writing.report_folder(folder / "results", folder / "out", console)
    shown = console.file.getvalue()
    assert "surgery" in shown
    assert ("CLIPErase" in shown) == (name != "mini")
    assert ("leaderboard.md has the published values" in shown) == (name == "mini")
