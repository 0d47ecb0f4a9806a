"""Scores the released models under every reading of the protocol's open choices.

    python -m experiments.published.readings WORKDIR

WORKDIR is that of `configs/vit_b16.py`; data and weights are read from it, or downloaded into it.
Each model is embedded once and scored under each of `readings()`. Writes readings.json.
`python -m experiments.tabulate` then writes the README's table, which marks the readings that
reproduce the published values.
"""

import argparse
import itertools
import pathlib
import sys

from configs import vit_b16
from salmu_jax.benchmark import configuration, evaluation, run, stages
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.evaluate.measures import CANDIDATES
from salmu_jax.methods import runs
from salmu_jax.report import markdown as md
from salmu_jax.results import lookup, published
from salmu_jax.runtime import files, sharding

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "readings.json"
PROMPTS = ("a photo of {}", "{}", "a photo of a person named {}")
# Metric -> fields of config.evaluate and their candidates; the first of each is the default.
OPEN = {
  "ACS": {
    "probe.feature": tuple(metrics.FEATURES),
    "probe.standardise": (True, False),
  },
  "IdZSC": {
    "name_candidates": tuple(CANDIDATES),
    "name_prompt": PROMPTS,
  },
}
# A reading reproduces the published values if both models are at most this far from them.
CLOSE = 0.005


def readings():
  """[(metric, {field of config.evaluate: value})], defaults first."""
  return [
    (metric, dict(zip(fields, values, strict=True)))
    for metric, fields in OPEN.items()
    for values in itertools.product(*fields.values())
  ]


def measure(evaluator, settings, params):
  """The value under each of `readings()`, for one model.

  Args:
    evaluator: Evaluator of the release.
    settings: `config.evaluate`.
    params: the model's.
  """
  z = evaluator.embed(params, "embed", prompts=PROMPTS)
  values = []
  for metric, fields in readings():
    changed = settings.copy_and_resolve_references()
    changed.update_from_flattened_dict(fields)
    values.append(lookup.flatten(evaluator.with_settings(changed).score(z))[metric])
  return values


def main(argv=None):
  """Measures both models and writes readings.json; returns the exit code."""
  parser = argparse.ArgumentParser(prog="python -m experiments.published.readings")
  parser.add_argument("workdir", help="of configs/vit_b16.py")
  parser.add_argument("--batch-size", type=int, help="pictures per batch, over all devices")
  args = parser.parse_args(argv)
  config = vit_b16.get_config()
  config.method.name = runs.NO_METHOD
  config.evaluate.batch_size = args.batch_size or config.evaluate.batch_size
  try:
    study(config, args.workdir)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  return 0


def study(config, workdir):
  """Scores both models of `config` under every reading, and writes readings.json."""
  mesh = sharding.make_mesh()
  configuration.check(config, mesh)
  config = configuration.chosen(config)
  job, data = run.prepare(config, pathlib.Path(workdir).expanduser().absolute(), mesh)
  evaluator = evaluation.make_evaluator(job, data)
  values = {
    name: measure(evaluator, config.evaluate, stages.pretrain(job, data, name))
    for name in stages.PRETRAINED
  }
  rows = [
    {"metric": metric, "fields": fields, **{name: values[name][i] for name in values}}
    for i, (metric, fields) in enumerate(readings())
  ]
  files.write_json(RESULTS, {"release": data.release.name, "readings": rows})


def section(path=RESULTS):
  """The table of the protocol's open choices: each combination's values, the published ones, and
  whether they agree. Until the study has run, the fields and their values.
  """
  return _measured(files.read_json(path)["readings"]) if path.exists() else _choices()


def _choices():
  """The open fields of each metric, with the values that the study would try."""
  lines = [("metric", "field of `config.evaluate`", "default", "alternatives"), ("---",) * 4]
  for metric, fields in OPEN.items():
    for field, (default, *others) in fields.items():
      shown = [f"`{value!r}`" for value in (default, *others)]
      lines.append((metric, f"`{field}`", shown[0], ", ".join(shown[1:])))
  return md.table(lines) + (
    "\nWhich of these reproduce the published values has not been measured yet; it needs the "
    "released models and an accelerator "
    "([experiments/published](../experiments/published/README.md)).\n"
  )


def _measured(rows):
  """The values of every combination beside the published ones."""
  heads = ("metric", "fields of `config.evaluate`", "published Clean / Compromised", "measured")
  lines = [heads, ("---",) * len(heads)]
  for metric, fields in readings():
    references = [published.MODELS[name][metric] for name in stages.PRETRAINED]
    reading = ", ".join(f"{field} = {value!r}" for field, value in fields.items())
    cell = "not measured"
    row = next((r for r in rows if (r["metric"], r["fields"]) == (metric, fields)), None)
    if row:
      values = [row[name] for name in stages.PRETRAINED]
      close = all(abs(a - b) <= CLOSE for a, b in zip(references, values, strict=True))
      cell = " / ".join(f"{v:.5f}" for v in values) + (", reproduces it" if close else "")
    default_ = " (default)" if fields == _defaults(metric) else ""
    lines.append((metric, reading + default_, " / ".join(f"{v:.5f}" for v in references), cell))
  return md.table(lines)


def _defaults(metric):
  return {field: values[0] for field, values in OPEN[metric].items()}


if __name__ == "__main__":
  sys.exit(main())
