"""Results that cannot be used are refused by file and field."""

import io

import pytest
from madeup import FILES, everything, report, save
from rich.console import Console

from salmu_jax.errors import InputError
from salmu_jax.report import __main__ as command
from salmu_jax.report import writing
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
