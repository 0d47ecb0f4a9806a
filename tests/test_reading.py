"""Results that cannot be used are refused by file and field."""

import io
import json
import math

import pytest
from madeup import FILES, everything, report, save, with_attacks
from rich.console import Console
from submissions import SMALL, at

from salmu_jax.errors import InputError
from salmu_jax.report import __main__ as command
from salmu_jax.report import writing
from salmu_jax.results import lookup, reading
from salmu_jax.results.reading import read_results


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
      one["salmu_jax"].update(attacks={"names": ["Gallery"], "gallery": {"people": at}})
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
  "gallery": (_set(3, "salmu_jax", "release", "retrieval_gallery", value=3000), "03.json was"),
  "other GenKnow": (_set(3, "salmu_jax", "general_knowledge", value="x"), "03.json has general_k"),
  "fewer rows": (
    _set(3, "utility", "2.5_FragSim", value={"mean": 0.3, "scores": [0.3]}),
    "03.json has 1 scores",
  ),
}


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN)
def test_unusable_results_are_refused_by_file_and_field(tmp_path, change, message):
  with pytest.raises(InputError, match=message):
    report(tmp_path, *broken(change))
  assert not (tmp_path / "out").exists()


CONTENTS = {
  "a list": ("[]", "03.json holds a list"),
  "null": ("null", "03.json holds a NoneType"),
  "cut": ('{"efficacy": ', r"03\.json is not valid JSON"),
  "nothing": ("", r"03\.json is not valid JSON"),
  "deep": ("[" * 100_000, r"03\.json is nested too deep"),
  "digits": ("9" * 5000, r"03\.json holds"),
}


@pytest.mark.parametrize("content, message", CONTENTS.values(), ids=CONTENTS)
def test_a_file_that_is_no_results_file_is_refused(content, message, tmp_path):
  folder = save(tmp_path / "results", *everything())
  (folder / "03.json").write_text(content)
  with pytest.raises(InputError, match=message):
    read_results(folder)


def test_a_folder_in_the_place_of_results_is_refused(tmp_path):
  folder = save(tmp_path / "results", *everything()[:3])
  (folder / "03.json").mkdir()
  with pytest.raises(InputError, match=r"03\.json: no such file"):
    read_results(folder)


ATTACK = ("salmu_jax", "additional", "recoverability", "Membership")
WRONG = {  # path of a value -> JSON in its place, and what the refusal says
  "a better number": (("efficacy", "1.2_AssocStr", "mean"), "0.15", "its rows, .*scores, give"),
  "a better MRR": (("efficacy", "1.1_RetFail", "MRR"), "0.001", "its rows, .*outcomes, give"),
  "a better row": (("utility", "2.2_InterIdSim", "scores", 3), "0.9", "its rows, .*scores, give"),
  "no cosine": (("utility", "2.2_InterIdSim", "scores", 3), "1.5", "a cosine, from -1 to 1"),
  "no share": (("efficacy", "1.3_ACS", "acs_accuracy"), "1.1", "maximum: 1"),
  "true": (("efficacy", "1.3_ACS", "acs_accuracy"), "true", "acs_accuracy is True"),
  "no rank": (("efficacy", "1.1_RetFail", "outcomes", 0), "2001", "should be below 2001"),
  "an empty list": (("utility", "2.5_FragSim", "scores"), "[]", "found a list of 0"),
  "an interval elsewhere": (
    (*ATTACK, "interval"),
    "[0.1, 0.2]",
    "should contain the attack's value",
  ),
  "an interval turned round": ((*ATTACK, "interval"), "[0.9, 0.1]", "should contain the attack's"),
  "half an interval": ((*ATTACK, "interval"), "[0.1]", "the 95 % interval"),
  "a long integer": (("salmu_jax", "steps"), "9" * 400, "salmu_jax.steps"),
  "half a character": (("salmu_jax", "model"), '"a\\ud800"', "no lone surrogates"),
  "an escape": (("salmu_jax", "model"), '"a\\u001b[2J"', "no control characters"),
  "no name": (("salmu_jax", "model"), '" "', "salmu_jax.model is empty"),
  "names no list": (("salmu_jax", "attacks"), '{"names": [[]]}', "the name of an attack"),
}


@pytest.mark.parametrize("where, value, message", WRONG.values(), ids=WRONG)
def test_a_value_that_cannot_be_is_refused_by_file_and_field(where, value, message, tmp_path):
  results = [with_attacks(one) for one in everything()]
  target = results[3]
  for key in where[:-1]:
    target = target[key]
  target[where[-1]] = "HERE"
  folder = save(tmp_path / "results", *results)
  text = (folder / "03.json").read_text().replace('"HERE"', value)
  (folder / "03.json").write_text(text)
  with pytest.raises(InputError, match=f"03.json: .*{message}"):
    read_results(folder)


def test_a_field_that_is_taken_out_is_missing_or_refused(tmp_path):
  whole = {name: json.dumps(one) for name, one in SMALL.items()}
  for name in SMALL:
    (tmp_path / f"{name}.json").write_text(whole[name])
  release, about = (("salmu_jax", "release"), ("salmu_jax",))
  for where in ((*release, "derived"), (*release, "counts"), release, about):
    for key in at(SMALL["finetune"], *where):
      result = json.loads(whole["finetune"])
      del at(result, *where)[key]
      (tmp_path / "finetune.json").write_text(json.dumps(result))
      try:
        read_results(tmp_path)
      except InputError as error:
        assert "finetune.json" in str(error) and key in str(error)


def test_a_name_that_is_there_twice_is_refused(tmp_path):
  folder = save(tmp_path / "results", *everything())
  text = (folder / "03.json").read_text().replace('"seed": 0', '"seed": 0, "seed": 1')
  (folder / "03.json").write_text(text)
  with pytest.raises(InputError, match=r"03\.json: salmu_jax\.seed"):
    read_results(folder)


def test_numbers_that_are_not_finite_are_missing_and_unknown_fields_are_left_alone(tmp_path):
  results = everything()[:3]
  results[2]["utility"]["2.5_FragSim"]["mean"] = math.nan
  results[2]["salmu_jax"]["later"] = {"a": 1}
  values = lookup.flatten(read_results(save(tmp_path / "results", *results))[2])
  assert values["FragSim"] is None and values["InterIdSim"] > 0


@pytest.mark.parametrize(
  ("names", "change", "words"),
  [
    (
      ["00", "01"],
      {"release": {"manifest_sha256": "0" * 64}},
      r"02\.json has another release th",
    ),
    (
      ["00", "01"],
      {"evaluation": {}, "start": "0"},
      r"another evaluation and Compromised model th",
    ),
    (["00", "01"], {"attacks": {"names": ["Readout"]}}, r"02\.json has another attacks than"),
    (["00", "01", "finetune"], {}, r"02\.json holds the model 'finetune' \(role 'unlearned'\)"),
    (["01", "02"], {}, r"00\.json holds the model 'clean' \(role 'clean'\), which this run"),
  ],
)
def test_results_that_would_not_compare_are_refused_before_a_run(tmp_path, names, change, words):
  results = everything()[:3]
  results[2]["salmu_jax"]["attacks"] = {"names": ["Readout"], "readout": {"folds": 2}}
  folder = save(tmp_path / "results", *results)
  alike = {
    key: results[2]["salmu_jax"][key] for key in ("release", "evaluation", "attacks", "start")
  }
  reading.check_others(folder, ["00", "01"], alike)
  reading.check_others(tmp_path / "none yet", [], alike)
  with pytest.raises(InputError, match=words):
    reading.check_others(folder, names, alike | change)


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
