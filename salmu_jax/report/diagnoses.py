"""Why and where each model fails: verdicts with their numbers, by field, style and person."""

from collections.abc import Iterable, Mapping, Sequence

from salmu_jax.report import markdown as md
from salmu_jax.results import breakdown, clauses, diagnosis
from salmu_jax.results.clauses import strict_verdicts
from salmu_jax.results.lookup import distances, flatten
from salmu_jax.results.shares import SIDES, Shares

FILES = ("diagnosis.md", "diagnosis.json")
WORST = 5  # how many people are named
# Kinds of groups with a table; for people, only the worst are named.
TABLED = ("field", "style")


def diagnoses(results: Sequence[Mapping], thresholds: Mapping[str, float]) -> list[dict]:
  """The verdict and the groups of every unlearned model.

  Args:
    results: what `read_results` returns. thresholds: see `diagnosis.THRESHOLDS`.

  Returns:
    [{"model", "verdict": the fields of a Verdict, or None with the reason in "obstacle", "strict":
    the fields of a StrictVerdict, "distances": of each metric to its bound, "groups": [the fields
    of a Group]}]; groups are empty for results without a breakdown.
  """
  strict = strict_verdicts(results, thresholds)
  clean, compromised = (flatten(result) for result in results[:2])
  bounds = [_broken_down(result) for result in results[:2]]
  models = []
  for result in results[2:]:
    values = flatten(result)
    obstacle = diagnosis.obstacle(values, clean, compromised)
    verdict = None if obstacle else diagnosis.diagnose(values, clean, compromised, thresholds)
    tables = [_broken_down(result), *bounds]
    groups = diagnosis.by_group(*tables) if all(tables) else []
    name = result["salmu_jax"]["model"]
    models.append(
      {
        "model": name,
        "verdict": verdict and {**verdict._asdict(), "shares": verdict.shares._asdict()},
        "obstacle": obstacle,
        "strict": strict[name]._asdict()
        | {"clauses": [clause._asdict() for clause in strict[name].clauses]},
        "distances": distances(values, clean, compromised),
        "groups": [{**group._asdict(), "shares": group.shares._asdict()} for group in groups],
      }
    )
  return models


def _broken_down(result):
  return result["salmu_jax"].get("additional", {}).get("breakdown")


def markdown(models: Iterable[Mapping], thresholds: Mapping[str, float]) -> str:
  """The diagnoses as GitHub-flavoured Markdown, one section per model.

  Args:
    models: what `diagnoses` returns.
  """
  least = lambda threshold: f"{100 * thresholds[threshold]:g}%"
  head = (
    "# Why methods fail\n\nShares of the gap between Compromised and Clean. Over all rows, a model "
    f"passes if it removes at least {least('leak_removed')} of the leak and keeps at least "
    f"{least('holdout_kept')} of each holdout gap and at least {least('knowledge_kept')} of "
    "Compromised's general knowledge. A dash marks groups without such rows or without a gap.\n"
  )
  return "\n".join([head, *(_section(model, thresholds) for model in models)])


def _section(model, thresholds):
  verdict = model["verdict"]
  words = model["obstacle"]
  if verdict:
    words = diagnosis.describe(diagnosis.Verdict(**{**verdict, "shares": _shares(verdict)}))
  groups = [diagnosis.Group(**{**group, "shares": _shares(group)}) for group in model["groups"]]
  parts = [f"## {md.escape(model['model'])}\n", f"{words[0].upper()}{words[1:]}.\n"]
  parts.append(_strict(model["strict"]))
  for kind in TABLED:
    chosen = [group for group in groups if group.kind == kind]
    if chosen:
      parts.append(_table(breakdown.KINDS[kind], chosen))
  people = [g for g in groups if g.kind == "identity" and g.shares.leak_removed is not None]
  if people:
    parts.append(_people(people, thresholds))
  return "\n".join(parts)


def _strict(verdict):
  """The strict verdict: the clauses that do not hold, with their numbers."""
  words = "; ".join(clauses.unmet(verdict["clauses"])) or clauses.PASSES
  left_out = f" Left out: {', '.join(verdict['left_out'])}." if verdict["left_out"] else ""
  return f"Strict verdict: {words}.{left_out}\n"


def _table(head, groups):
  sides = [name for name, side in SIDES.items() if not side.of_value]
  lines = [[head, "rows to forget", *(SIDES[name].label for name in sides)]]
  lines.append(["---", "---:", *["---:"] * len(sides)])
  for group in groups:
    cells = [_percent(getattr(group.shares, name)) for name in sides]
    lines.append([md.escape(group.label), str(group.rows), *cells])
  return md.table(lines)


def _shares(part):
  return Shares(**part["shares"])


def _percent(share):
  return "-" if share is None else f"{share:z.1%}"


def _people(people, thresholds):
  """One paragraph: how many people still leak, and whose data leak most."""
  limit = 1 - thresholds["leak_removed"]
  left = {person.label: 1 - person.shares.leak_removed for person in people}
  leaking = [label for label, share in left.items() if share > limit]
  worst = sorted(left, key=lambda label: (-left[label], label))[:WORST]
  named = ", ".join(f"{md.escape(label)} ({left[label]:.0%})" for label in worst)
  return (
    f"Of the {len(people)} people to forget that leak in Compromised, {len(leaking)} still leak "
    f"more than {limit:.0%} of that. Worst: {named}.\n"
  )
