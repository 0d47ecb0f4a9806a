"""The study's tables, from results/*.json: tuned and untuned apart, budgets, and the published
picture.
"""

import math
import pathlib

from experiments.baselines import space
from salmu_jax.report import markdown as md
from salmu_jax.results import diagnosis
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results"
SHOWN = ("RetFail_MRR", "AssocStr", "GenKnow", "InterIdSim", "IntraIdSim", "VisIdInt")
NEAR = 0.1  # cosines no further apart than this are near in the published picture


def studies():
  """{method: what its search and runs found}, in alphabetical order."""
  paths = sorted(RESULTS.glob("*.json"))
  return {path.stem: files.read_json(path) for path in paths if path.stem != "bounds"}


def bounds():
  """What Clean and Compromised score, and what was judged on."""
  return files.read_json(RESULTS / "bounds.json")


def verdict(values):
  """The diagnosis of one model's scores; None for one that diverged."""
  known = bounds()
  if any(values[key] is None for key in SHOWN):
    return None
  return diagnosis.diagnose(values, known["clean"], known["compromised"])


def tuned(budget="5"):
  """The table of tuned methods at a budget; those of one pass at theirs. Best first, as a
  leaderboard.
  """
  rows = []
  for name, found in studies().items():
    run = found["tuned"].get(budget) or found["tuned"]["1"]
    rows.append((name, _setting(found["chosen"], name), run))
  return _table(rows, ("method", "learning rate, knob"))


def untuned():
  """The table of the settings in configs/methods/NAME.vit_b16(), on mini, where authors
  published some.
  """
  rows = [
    (name, _untuned_setting(name, found["untuned"]["settings"]), found["untuned"])
    for name, found in studies().items()
    if name in space.AUTHORS
  ]
  return _table(rows, ("method", "settings"))


def _table(rows, heads):
  known = bounds()
  heads = [*heads, *SHOWN, "leak removed", "GenKnow lost", "holdout gap lost", "failure mode"]
  lines = [heads, ["---", "---", *["---:"] * (len(SHOWN) + 3), "---"]]
  for name in ("clean", "compromised"):
    lines.append([name, "", *(f"{known[name][key]:.3f}" for key in SHOWN), "", "", "", "bound"])
  for name, setting, run in sorted(rows, key=_rank):
    found = verdict(run["scores"])
    if found is None:
      lines.append([f"`{name}`", setting, *[""] * (len(SHOWN) + 3), "diverged"])
      continue
    shares = (found.leakage_reduction, found.general_knowledge_loss, _lost(found))
    numbers = [f"{run['scores'][key]:.3f}" for key in SHOWN]
    lines.append([f"`{name}`", setting, *numbers, *(f"{x:.1%}" for x in shares), found.word])
  return md.table(lines)


def _lost(found):
  return max(found.inter_gap_lost, found.intra_gap_lost)


def _rank(row):
  found = verdict(row[2]["scores"])
  if found is None:
    return math.inf, 0.0, row[0]
  sides = (found.leakage_reduction, 1 - found.general_knowledge_loss, 1 - _lost(found))
  return len(found.failures), -min(sides), row[0]


def _setting(choice, name):
  rate = "1x" if name in space.ONE_PASS else f"{choice['learning_rate']:g}"
  return ", ".join([rate, *(f"{k} = {v:g}" for k, v in choice["args"].items())])


def _untuned_setting(name, settings):
  optimizer = settings["optimizer"]
  how = f"{optimizer['name']} {optimizer['learning_rate']:g}, batches of {settings['batch_size']}"
  return f"{'1x' if name in space.ONE_PASS else how}; theirs: {space.AUTHORS[name]}"


def budgets():
  """Leak removed / GenKnow lost / holdout gap lost of every tuned method, by budget."""
  heads = ["method", *(f"{budget:g}x" for budget in space.BUDGETS)]
  lines = [heads, ["---", *["---:"] * len(space.BUDGETS)]]
  for name, found in studies().items():
    if name in space.ONE_PASS:
      continue
    cells = []
    for budget in space.BUDGETS:
      one = verdict(found["tuned"][f"{budget:g}"]["scores"])
      shares = one and (one.leakage_reduction, one.general_knowledge_loss, _lost(one))
      cells.append(" / ".join(f"{share:.1%}" for share in shares) if shares else "diverged")
    lines.append([f"`{name}`", *cells])
  return md.table(lines)


def picture():
  """What the paper's table shows, beside the tuned methods at 5x on mini, and whether mini
  agrees.
  """
  known = bounds()
  at = {name: each["tuned"].get("5") or each["tuned"]["1"] for name, each in studies().items()}
  inter = lambda name: at[name]["scores"]["InterIdSim"]
  fails = lambda name, word: word in _words(at[name])
  clean, mismatched = known["clean"]["InterIdSim"], known["mismatched"]
  rows = []
  for name in ("direct_similarity", "shuffled_captions"):
    agrees = fails(name, "catastrophic") or inter(name) < clean - NEAR
    rows.append((f"`{name}` is catastrophic, or far below Clean", _said(name, at), agrees))
  for name in ("cliperase_zero", "delete_zero"):
    agrees = fails(name, "over-generalised") and abs(inter(name)) <= NEAR
    claim = f"`{name}` over-generalises, holdout similarity near 0"
    rows.append((claim, _said(name, at), agrees))
  agrees = abs(inter("vlunlearn") - mismatched) <= NEAR
  claim = "`vlunlearn` ends near the similarity of mismatched pairs"
  rows.append((claim, _said("vlunlearn", at), agrees))
  names = ("generic_captions", "finetune")
  agrees = any(fails(name, "ineffective") for name in names)
  text = "; ".join(_said(name, at) for name in names)
  rows.append(("`generic_captions` (or `finetune`) is ineffective", text, agrees))
  passing = [name for name in at if _words(at[name]) == "passes"]
  text = ", ".join(passing) or "none passes"
  rows.append(("no method avoids all three failures", text, not passing))
  heads = ("in the paper, at 5x", "on mini, tuned, at 5x", "agrees")
  lines = [heads, ("---",) * 3, *((a, b, "yes" if c else "**no**") for a, b, c in rows)]
  return (
    f"InterIdSim is {known['compromised']['InterIdSim']:.3f} for Compromised and {clean:.3f} for "
    f"Clean; mismatched pairs of Compromised have {mismatched:.3f}.\n\n{md.table(lines)}"
  )


def _words(run):
  found = verdict(run["scores"])
  return found.word if found else "diverged"


def _said(name, at):
  inter = at[name]["scores"]["InterIdSim"]
  number = "" if inter is None else f", InterIdSim {inter:.3f}"
  return f"{name}: {_words(at[name])}{number}"


def cost():
  """How long the study took, on what."""
  found, known = studies(), bounds()
  trials = sum(len(each["trials"]) for each in found.values())
  seconds = sum(each["seconds"] for each in found.values())
  return (
    f"{len(found)} methods, {trials} trials of the search and "
    f"{sum(len(each['tuned']) + (each['untuned'] is not None) for each in found.values())} judged "
    f"models took {seconds / 60:.0f} minutes on {known['device']}. Release "
    f"{known['release'][:12]}, seed {known['seed']}.\n"
  )
