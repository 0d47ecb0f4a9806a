"""Why each model fails, and where: verdicts with their numbers, by field, style and person."""

from salmu_jax.report import leaderboard
from salmu_jax.report import markdown as md
from salmu_jax.results import diagnosis, scores

FILES = ("diagnosis.md", "diagnosis.json")
WORST = 5  # people named
HEADS = {"field": "private field", "style": "caption style"}


def diagnoses(results, thresholds):
  """The verdict of every unlearned model, and its groups.

  Args:
    results: what `read_results` returns. thresholds: see `diagnosis.THRESHOLDS`.

  Returns:
    [{"model", "verdict": a Verdict's fields, or None with "obstacle" saying why, "groups": [a
    Group's fields]}]; groups are empty for results without a breakdown.
  """
  clean, compromised = (scores.flatten(result) for result in results[:2])
  bounds = [_broken_down(result) for result in results[:2]]
  out = []
  for result in results[2:]:
    values = scores.flatten(result)
    obstacle = leaderboard.obstacle(values, clean, compromised)
    verdict = None if obstacle else diagnosis.diagnose(values, clean, compromised, thresholds)
    tables = [_broken_down(result), *bounds]
    groups = diagnosis.by_group(*tables) if all(tables) else []
    out.append(
      {
        "model": result["salmu_jax"]["model"],
        "verdict": verdict and verdict._asdict(),
        "obstacle": obstacle,
        "groups": [group._asdict() for group in groups],
      }
    )
  return out


def _broken_down(result):
  return result["salmu_jax"].get("additional", {}).get("breakdown")


def markdown(found, thresholds):
  """The diagnoses as GitHub-flavoured Markdown, one section a model."""
  head = (
    "# Diagnosis\n\nShares of the gap between Compromised and Clean. Leakage left: 0% is Clean's "
    f"retrieval, 100% Compromised's; more than {1 - thresholds['leakage_reduction']:.0%} over all "
    "rows is ineffective. Lost: of the holdouts' similarity; more than "
    f"{thresholds['holdout_gap_lost']:.0%} over all rows is over-generalised. - means that the "
    "group has no such rows, or no gap.\n"
  )
  return "\n".join([head, *(_section(each, thresholds) for each in found)])


def _section(each, thresholds):
  verdict = each["verdict"]
  words = diagnosis.describe(diagnosis.Verdict(**verdict)) if verdict else each["obstacle"]
  groups = [diagnosis.Group(**group) for group in each["groups"]]
  parts = [f"## {md.escape(each['model'])}\n", f"{words[0].upper()}{words[1:]}.\n"]
  for kind, head in HEADS.items():
    chosen = [group for group in groups if group.kind == kind]
    if chosen:
      parts.append(_table(head, chosen))
  people = [g for g in groups if g.kind == "identity" and g.leakage_left is not None]
  if people:
    parts.append(_people(people, thresholds))
  return "\n".join(parts)


def _table(head, groups):
  heads = [
    head,
    "rows to forget",
    "leakage left",
    "lost of other people",
    "lost of the same people",
  ]
  lines = [heads, ["---", *["---:"] * 4]]
  for group in groups:
    shares = (group.leakage_left, group.inter_gap_lost, group.intra_gap_lost)
    lines.append([md.escape(group.label), str(group.rows), *map(_share, shares)])
  return md.table(lines)


def _share(value):
  return "-" if value is None else f"{value:z.1%}"


def _people(people, thresholds):
  """One paragraph: how many people still leak, and who leaks most."""
  limit = 1 - thresholds["leakage_reduction"]
  leaking = [person for person in people if person.leakage_left > limit]
  worst = sorted(people, key=lambda person: (-person.leakage_left, person.label))[:WORST]
  named = ", ".join(f"{md.escape(p.label)} ({p.leakage_left:.0%})" for p in worst)
  return (
    f"Of the {len(people)} people to forget who leaked, {len(leaking)} leak more than {limit:.0%} "
    "of what they did. "
    f"Most: {named}.\n"
  )
