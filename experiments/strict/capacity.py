"""How many random facts a ridge edit writes into a matrix: python -m experiments.strict.capacity

Written and held keys are drawn from the same isotropic Gaussian, so that only their number
matters; values are isotropic too. This loses no generality for the keys: an invertible map of all
keys changes neither what a ridge edit writes nor what it moves. Writes results/capacity.json, and
draws capacity.png with the forget captions of mini added (results/closed-seed-0.json).
"""

import pathlib
from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from experiments.strict import closed, edits
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import files

RESULTS = pathlib.Path(__file__).parent / "results" / "capacity.json"
PICTURE = pathlib.Path(__file__).parent / "capacity.png"
WIDTHS = ("mini", "vit_b16")
WEIGHTS = (0.01, 1.0, 100.0)  # of held keys; at 1 they count as much as all facts together
FACTS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)  # over the hidden width
_COLORS = dict(zip(WEIGHTS, ("tab:blue", "tab:orange", "tab:red"), strict=True))
_OUTPUTS = 32  # drawn outputs; each is a least squares of its own, so more would change nothing
_SEED = 0


def written(facts: int, hidden: int, weight: float, outputs: int, seed: int) -> dict[str, float]:
  """`edits.fit` of an edit with random keys.

  Args:
    facts: number of keys that get a new value.
    hidden: length of keys.
    outputs: length of values.
    weight: of held keys, see `edits.ridge`.
    seed: of the draws.
  """
  rng = np.random.default_rng([seed, facts, hidden])
  keys, values = rng.normal(size=(facts, hidden)), rng.normal(size=(facts, outputs))
  kept = np.eye(hidden)
  return edits.fit(edits.ridge(keys, values, kept, weight), keys, values, kept)


def measured() -> dict:
  """The results for every width, weight and number of facts."""
  curves = []
  for preset in WIDTHS:
    hidden = 4 * PRESETS[preset].text.width
    counts = [round(share * hidden) for share in FACTS]
    for weight in WEIGHTS:
      fits = [written(count, hidden, weight, _OUTPUTS, _SEED) for count in counts]
      about = {"preset": preset, "hidden": hidden, "weight": weight, "facts": counts}
      curves.append(about | {k: [float(f"{fit[k]:.4g}") for fit in fits] for k in fits[0]})
  return {"seed": _SEED, "outputs": _OUTPUTS, "curves": curves}


def draw(content: Mapping, subsets: list[Mapping]) -> Figure:
  """The figure: a column for each width; above, values not written; below, kept outputs moved.

  Args:
    content: of results/capacity.json.
    subsets: of results/closed-seed-0.json.
  """
  figure = Figure(figsize=(10, 6.4), layout="constrained")
  panels = figure.subplots(2, len(WIDTHS), sharex="col")
  rows = {"residual": "values not written", "kept_change": "change of kept outputs"}
  for column, preset in enumerate(WIDTHS):
    curves = [curve for curve in content["curves"] if curve["preset"] == preset]
    for axes, (key, words) in zip(panels[:, column], rows.items(), strict=True):
      for curve in curves:
        label = f"random keys, weight {curve['weight']:g}"
        axes.plot(
          curve["facts"], curve[key], "o-", color=_COLORS[curve["weight"]], ms=3, label=label
        )
      axes.axvline(curves[0]["hidden"], color="0.8", lw=1, zorder=0)
      axes.set(xscale="log", ylabel=f"{words}, mean square\nover that of the values")
    panels[0, column].set(title=f"{preset}: {curves[0]['hidden']} hidden units", ylim=(-0.03, 1.03))
    panels[1, column].set(yscale="log", ylim=(1e-5, 10))
    panels[1, column].set_xlabel("keys (grey: as many as hidden units)")
  _draw_subsets(panels[:, 0], subsets)
  figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
  return figure


def _draw_subsets(panels, subsets):
  for weight in WEIGHTS:
    points = [point for point in subsets if point["weight"] == weight]
    captions = [point["captions"] for point in points]
    for axes, key in zip(panels, ("residual", "kept_change"), strict=True):
      shares, color = [point[key] for point in points], _COLORS[weight]
      label = f"mini's captions, weight {weight:g}"
      axes.plot(captions, shares, "x:", color=color, ms=6, label=label)


def main() -> None:
  """Measures and draws."""
  content = measured()
  files.write_json(RESULTS, content)
  figure = draw(content, files.read_json(closed.RESULTS)["subsets"])
  with files.replacing(PICTURE) as temporary:
    figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
  main()
