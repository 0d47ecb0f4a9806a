"""The study's tables from results/*.json: tuned, untuned, by budget, and against the paper."""

import math
import pathlib
from collections.abc import Iterable

from experiments.baselines import space
from salmu_jax.report import markdown as md
from salmu_jax.results import diagnosis
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results"
SHOWN = ("RetFail_MRR", "AssocStr", "GenKnow", "InterIdSim", "IntraIdSim", "VisIdInt")
NEAR = 0.1  # the largest distance between cosines that count as near in `picture`


def studies() -> dict[str, dict]:
  """{method: its record}, in alphabetical order."""
  paths = sorted(RESULTS.glob("*.json"))
  return {path.stem: files.read_json(path) for path in paths if path.stem != "bounds"}


def bounds() -> dict:
  """The metrics of Clean and Compromised, with the release, seed and device of the study."""
  return files.read_json(RESULTS / "bounds.json")


def verdict(scores: dict[str, float | None]) -> diagnosis.Verdict | None:
  """The diagnosis of a model's scores; None if it diverged."""
  if any(scores[key] is None for key in SHOWN):
    return None
  return diagnosis.diagnose(scores, bounds()["clean"], bounds()["compromised"])


def _at(record, budget):
  """The tuned run at a budget; methods of one pass have one run alone."""
  return record["tuned"].get(budget) or record["tuned"]["1"]


def tuned(budget: str = "5") -> str:
  """The table of tuned methods at a budget, ordered as a leaderboard, best first."""
  rows = [
    (name, _setting(record["chosen"], name), _at(record, budget))
    for name, record in studies().items()
  ]
  return _table(rows, ("method", "learning rate, knob"))


def untuned() -> str:
  """The table of configs/methods/NAME.vit_b16() on mini, for methods with published settings."""
  rows = [
    (name, _untuned_setting(name, record["untuned"]["settings"]), record["untuned"])
    for name, record in studies().items()
    if name in space.AUTHORS
  ]
  return _table(rows, ("method", "settings"))


def _table(rows: Iterable[tuple], heads: tuple[str, str]) -> str:
  """A table of runs, from (method, setting, run)."""
  heads = [*heads, *SHOWN, "leak removed", "GenKnow lost", "holdout gap lost", "failure mode"]
  lines = [heads, ["---", "---", *["---:"] * (len(SHOWN) + 3), "---"]]
  for name in ("clean", "compromised"):
    scores = [f"{bounds()[name][key]:.3f}" for key in SHOWN]
    lines.append([name, "", *scores, "", "", "", "bound"])
  for name, setting, run in sorted(rows, key=_rank):
    diagnosed = verdict(run["scores"])
    if diagnosed is None:
      lines.append([f"`{name}`", setting, *[""] * (len(SHOWN) + 3), "diverged"])
      continue
    shares = [f"{share:.1%}" for share in _shares(diagnosed)]
    scores = [f"{run['scores'][key]:.3f}" for key in SHOWN]
    lines.append([f"`{name}`", setting, *scores, *shares, diagnosed.word])
  return md.table(lines)


def _shares(diagnosed):
  """Leak removed, GenKnow lost and the larger of the two holdout gaps lost."""
  gap = max(diagnosed.inter_gap_lost, diagnosed.intra_gap_lost)
  return diagnosed.leakage_reduction, diagnosed.general_knowledge_loss, gap


def _rank(row):
  """The sort key of a row: fewest failures first, then the largest of the weakest shares."""
  name, _, run = row
  diagnosed = verdict(run["scores"])
  if diagnosed is None:
    return math.inf, 0.0, name
  removed, knowledge_lost, gap_lost = _shares(diagnosed)
  weakest = min(removed, 1 - knowledge_lost, 1 - gap_lost)
  return len(diagnosed.failures), -weakest, name


def _setting(choice, name):
  rate = "1x" if name in space.ONE_PASS else f"{choice['learning_rate']:g}"
  return ", ".join([rate, *(f"{k} = {v:g}" for k, v in choice["args"].items())])


def _untuned_setting(name, settings):
  optimizer = settings["optimizer"]
  how = f"{optimizer['name']} {optimizer['learning_rate']:g}, batches of {settings['batch_size']}"
  return f"{'1x' if name in space.ONE_PASS else how}; theirs: {space.AUTHORS[name]}"


def budgets() -> str:
  """The table of leak removed / GenKnow lost / holdout gap lost of tuned methods, by budget."""
  heads = ["method", *(f"{budget:g}x" for budget in space.BUDGETS)]
  lines = [heads, ["---", *["---:"] * len(space.BUDGETS)]]
  for name, record in studies().items():
    if name in space.ONE_PASS:
      continue
    cells = []
    for budget in space.BUDGETS:
      diagnosed = verdict(record["tuned"][f"{budget:g}"]["scores"])
      shares = diagnosed and [f"{share:.1%}" for share in _shares(diagnosed)]
      cells.append(" / ".join(shares) if shares else "diverged")
    lines.append([f"`{name}`", *cells])
  return md.table(lines)


def picture() -> str:
  """Each claim of the paper's table, the tuned methods at 5x on mini, and whether mini agrees."""
  clean, compromised = (bounds()[name]["InterIdSim"] for name in ("clean", "compromised"))
  mismatched = bounds()["mismatched"]
  runs = {name: _at(record, "5") for name, record in studies().items()}
  claims = [*_claims_of_failure(runs, clean), *_claims_of_similarity(runs, mismatched)]
  claims += _claims_of_ineffectiveness(runs)
  heads = ("in the paper, at 5x", "on mini, tuned, at 5x", "agrees")
  rows = ((claim, text, "yes" if agrees else "**no**") for claim, text, agrees in claims)
  return (
    f"InterIdSim is {compromised:.3f} for Compromised and {clean:.3f} for Clean; mismatched pairs "
    f"of Compromised have {mismatched:.3f}.\n\n{md.table([heads, ('---',) * 3, *rows])}"
  )


def _claims_of_failure(runs, clean):
  """(claim, what mini shows, whether it agrees) of the methods that break most."""
  for name in ("direct_similarity", "shuffled_captions"):
    agrees = _fails(runs[name], "catastrophic") or _inter(runs[name]) < clean - NEAR
    yield f"`{name}` is catastrophic, or far below Clean", _outcome(name, runs), agrees
  for name in ("cliperase_zero", "delete_zero"):
    agrees = _fails(runs[name], "over-generalised") and abs(_inter(runs[name])) <= NEAR
    claim = f"`{name}` over-generalises, holdout similarity near 0"
    yield claim, _outcome(name, runs), agrees


def _claims_of_similarity(runs, mismatched):
  agrees = abs(_inter(runs["vlunlearn"]) - mismatched) <= NEAR
  claim = "`vlunlearn` ends near the similarity of mismatched pairs"
  yield claim, _outcome("vlunlearn", runs), agrees


def _claims_of_ineffectiveness(runs):
  names = ("generic_captions", "finetune")
  agrees = any(_fails(runs[name], "ineffective") for name in names)
  text = "; ".join(_outcome(name, runs) for name in names)
  yield "`generic_captions` (or `finetune`) is ineffective", text, agrees
  passing = [name for name in runs if _word(runs[name]) == "passes"]
  text = ", ".join(passing) or "none passes"
  yield "no method avoids all three failures", text, not passing


def _inter(run):
  return run["scores"]["InterIdSim"]


def _fails(run, word):
  return word in _word(run)


def _word(run):
  diagnosed = verdict(run["scores"])
  return diagnosed.word if diagnosed else "diverged"


def _outcome(name, runs):
  inter = _inter(runs[name])
  number = "" if inter is None else f", InterIdSim {inter:.3f}"
  return f"{name}: {_word(runs[name])}{number}"


def cost() -> str:
  """The number of trials and judged models, and the time that they took."""
  records, judged_on = studies().values(), bounds()
  trials = sum(len(record["trials"]) for record in records)
  models = sum(len(record["tuned"]) + (record["untuned"] is not None) for record in records)
  minutes = sum(record["seconds"] for record in records) / 60
  return (
    f"{len(records)} methods, {trials} trials of the search and {models} judged models took "
    f"{minutes:.0f} minutes on {judged_on['device']}. Release {judged_on['release'][:12]}, seed "
    f"{judged_on['seed']}.\n"
  )
