"""The study's tables, from results/*.json: chosen settings, tuned and untuned runs, runs by budget,
and agreement with the paper.
"""

import functools
import pathlib
from collections.abc import Sequence

from experiments.baselines import cut, space
from salmu_jax.report import markdown as md
from salmu_jax.results import diagnosis
from salmu_jax.results.shares import SIDES, STRICT_SIDES, ranked, side_shares
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results"
_LEAKS = ("FactLeak_own", "FactLeak_new")
NOT_RUN = "Not run yet.\n"
NEAR = 0.1  # the largest distance between cosines that count as near in `picture`


@functools.cache
def records() -> dict[str, dict]:
  """{method: its record} of all searched methods, in alphabetical order."""
  paths = sorted(RESULTS.glob("*.json"))
  return {path.stem: files.read_json(path) for path in paths if path.stem != "bounds"}


def studies() -> dict[str, dict]:
  """The complete records: of methods that were also run with the chosen settings."""
  return {name: record for name, record in records().items() if "tuned" in record}


@functools.cache
def bounds() -> dict:
  """The metrics of Clean and Compromised, with the release, seed and device of the study."""
  return files.read_json(RESULTS / "bounds.json")


def verdict(scores: dict[str, float | None]) -> diagnosis.Verdict | None:
  """The diagnosis of a model's scores; None if it diverged."""
  if any(scores[side.metric] is None for side in (SIDES | STRICT_SIDES).values()):
    return None
  return diagnosis.diagnose(scores, bounds()["clean"], bounds()["compromised"])


def searched() -> str:
  """The table of the chosen settings, with shares on the validation split."""
  heads = ["method", "trials", "learning rate, knob", "leak removed", "retain kept"]
  lines = [heads, ["---", "---:", "---", "---:", "---:"]]
  for name, record in records().items():
    choice = record["chosen"]
    same = lambda trial, choice=choice: all(trial[key] == choice[key] for key in choice)
    best = next(trial for trial in record["trials"] if same(trial))
    shares = [f"{share:z.1%}" for share in cut.shares(best, record["start"])]
    lines.append([f"`{name}`", str(len(record["trials"])), _setting(choice, name), *shares])
  return md.table(lines)


def at(record: dict, budget: float) -> dict:
  """The tuned run at a budget; methods of one pass have only one run."""
  return record["tuned"].get(f"{budget:g}") or record["tuned"]["1"]


def tuned() -> str:
  """The table of tuned methods at the search budget, in the order of the leaderboard."""
  rows = [
    (name, _setting(record["chosen"], name), at(record, space.SEARCH_BUDGET))
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


def _table(rows: Sequence[tuple], heads: tuple[str, str]) -> str:
  """A table of runs, from rows of (method, setting, run)."""
  if not rows:
    return NOT_RUN
  sides = (SIDES | STRICT_SIDES).values()
  heads = [*heads, *(side.label for side in sides), *_LEAKS, "failure mode"]
  lines = [heads, ["---", "---", *["---:"] * (len(sides) + len(_LEAKS)), "---"]]
  for name in ("clean", "compromised"):
    lines.append([f"`{name}`", "", *[""] * len(sides), *_leaks(bounds()[name]), "bound"])
  for name, setting, run in sorted(rows, key=_order([(name, run) for name, _, run in rows])):
    scores, diagnosed = run["scores"], verdict(run["scores"])
    if diagnosed is None:
      lines.append([f"`{name}`", setting, *[""] * (len(sides) + len(_LEAKS)), "diverged"])
      continue
    further = side_shares(STRICT_SIDES, scores, bounds()["clean"], bounds()["compromised"])
    shares = [*_percent(diagnosed.shares), *_percent(further.values())]
    lines.append([f"`{name}`", setting, *shares, *_leaks(scores), diagnosed.word])
  return md.table(lines)


def _leaks(scores):
  return [f"{scores[key]:.3f}" for key in _LEAKS]


def _percent(shares):
  """Shares as text."""
  return [f"{share:z.1%}" for share in shares]


def _order(runs):
  """The sort key of rows: the leaderboard's order, then diverged runs by name."""
  verdicts = {name: verdict(run["scores"]) for name, run in runs}
  order = ranked({name: judgement.shares for name, judgement in verdicts.items() if judgement})
  order += sorted(name for name, judgement in verdicts.items() if judgement is None)
  return lambda row: order.index(row[0])


def _setting(choice, name):
  rate = "1x" if name in space.ONE_PASS else f"{choice['learning_rate']:g}"
  return ", ".join([rate, *(f"{k} = {v:g}" for k, v in choice["args"].items())])


def _untuned_setting(name, settings):
  optimizer = settings["optimizer"]
  how = f"{optimizer['name']} {optimizer['learning_rate']:g}, batches of {settings['batch_size']}"
  return f"{'1x' if name in space.ONE_PASS else how}; theirs: {space.AUTHORS[name]}"


def budgets() -> str:
  """The table of shares of tuned methods by budget, in the order of SIDES."""
  if not studies():
    return NOT_RUN
  heads = ["method", *(f"{budget:g}x" for budget in space.BUDGETS)]
  lines = [heads, ["---", *["---:"] * len(space.BUDGETS)]]
  for name, record in studies().items():
    if name in space.ONE_PASS:
      continue
    cells = []
    for budget in space.BUDGETS:
      diagnosed = verdict(record["tuned"][f"{budget:g}"]["scores"])
      cells.append(" / ".join(_percent(diagnosed.shares)) if diagnosed else "diverged")
    lines.append([f"`{name}`", *cells])
  return md.table(lines)


def picture() -> str:
  """Each claim of the paper's table, the tuned methods at 5x on mini, and whether they agree."""
  missing = sorted({*_CLAIMED} - {*studies()})
  if missing:
    return NOT_RUN
  clean, compromised = (bounds()[name]["InterIdSim"] for name in ("clean", "compromised"))
  mismatched = bounds()["mismatched"]
  runs = {name: at(record, 5.0) for name, record in studies().items()}
  claims = [*_claims_of_failure(runs, clean), *_claims_of_similarity(runs, mismatched)]
  claims += _claims_of_ineffectiveness(runs)
  heads = ("in the paper, at 5x", "on mini, tuned, at 5x", "agreement")
  rows = ((claim, text, "yes" if agrees else "**no**") for claim, text, agrees in claims)
  return (
    f"InterIdSim is {compromised:.3f} for Compromised and {clean:.3f} for Clean; mismatched pairs "
    f"under Compromised have a mean cosine of {mismatched:.3f}.\n\n"
    f"{md.table([heads, ('---',) * 3, *rows])}"
  )


# The methods that the claims are about.
_CLAIMED = (
  "direct_similarity",
  "shuffled_captions",
  "cliperase_zero",
  "delete_zero",
  "vlunlearn",
  "generic_captions",
  "finetune",
)


def _claims_of_failure(runs, clean):
  """(claim, outcome on mini, whether they agree) of the methods that fail hardest."""
  for name in ("direct_similarity", "shuffled_captions"):
    agrees = _fails(runs[name], "catastrophic") or _inter(runs[name]) < clean - NEAR
    yield f"`{name}` is catastrophic, or ends far below Clean", _outcome(name, runs), agrees
  for name in ("cliperase_zero", "delete_zero"):
    agrees = _fails(runs[name], "over-generalised") and abs(_inter(runs[name])) <= NEAR
    claim = f"`{name}` over-generalises, with holdout similarity near 0"
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
  """The number of trials and evaluated models, and the time that they took."""
  every, judged_on = records().values(), bounds()
  trials = sum(len(record["trials"]) for record in every)
  judged = studies().values()
  models = sum(len(record["tuned"]) + (record["untuned"] is not None) for record in judged)
  minutes = sum(record["seconds"] for record in every) / 60
  return (
    f"{len(every)} methods, with {trials} search trials and {models} evaluated models, took "
    f"{minutes:.0f} minutes on {judged_on['device']}. Release {judged_on['release'][:12]}, seed "
    f"{judged_on['seed']}.\n"
  )
