"""The model card of an exported model: what it is, how it was made, how it scores, how to load
it.
"""

import pathlib

from salmu_jax.report.markdown import escape, table
from salmu_jax.results import published
from salmu_jax.results.metrics_table import METRICS, flatten
from salmu_jax.runtime import files, workdir

_LOAD = {
  "openclip": (
    "import open_clip\n\n"
    'model, _, preprocess = open_clip.create_model_and_transforms("local-dir:.")\n'
    'tokenizer = open_clip.get_tokenizer("local-dir:.")'
  ),
  "huggingface": (
    'from transformers import CLIPModel, CLIPProcessor\n\nmodel = CLIPModel.from_pretrained(".")\n'
    'processor = CLIPProcessor.from_pretrained(".")'
  ),
}
_LIBRARY = {"openclip": "open_clip", "huggingface": "transformers"}


def text(folder, sizes, layout, words):
  """README.md of an export.

  Args:
    folder: the finished model folder. Its results are looked for in WORKDIR/results, as a run
      leaves them.
    sizes: of the export.
    layout: "openclip" or "huggingface".
    words: the model's tokenizer.
  """
  folder = pathlib.Path(folder).absolute()
  made = files.read_json(folder / workdir.SETTINGS)
  facts = files.read_json(folder / workdir.DONE)
  path = folder.parent.parent / "results" / f"{folder.name}.json"
  results = files.read_json(path) if path.exists() else None
  parts = [
    f"---\nlibrary_name: {_LIBRARY[layout]}\ntags:\n- clip\n- unlearning\n- salmubench\n---\n",
    f"# {escape(folder.name)}\n",
    _about(made, results),
    _table(("", ""), _making(made, facts, results)),
    "## Metrics\n",
    _metrics(results),
    "## Use\n",
    f"```python\n{_LOAD[layout]}\n```\n",
    _vocabulary(words),
    f"{published.SOURCE['title']}: {published.SOURCE['page']}, arXiv {published.SOURCE['arxiv']}. "
    f"Image size {sizes.image_size}, {sizes.embed_dim} dimensions. All people are fictitious.\n",
  ]
  return "\n".join(part for part in parts if part)


def _about(made, results):
  if "method" in made:
    return (
      f"A CLIP model from which pairs of faces and private attributes were to be unlearned, by the "
      f"method `{escape(made['method'])}`, for SALMUBench.\n"
    )
  role = f"{results['salmu_jax']['role']} " if results else ""
  return f"The {escape(role)}model of a SALMUBench experiment.\n"


def _making(made, facts, results):
  """Rows of how the model was made."""
  about = results["salmu_jax"] if results else {}
  rows = {
    "method": made.get("method"),
    "settings": made.get("args") or None,
    "optimizer": made.get("optimizer"),
    "budget": f"{made['budget']:g}x (1x is one pass over forget)" if "budget" in made else None,
    "batch size": made.get("batch_size"),
    "data read": ", ".join(facts["reads"]) or None,
    "parameters that moved": facts["moves"],
    "start model": made.get("start"),
    "brought in from": facts.get("weights", {}).get("source"),
    "release": about.get("release", {}).get("name"),
    "release digest": made.get("release"),
    "seed": made.get("seed"),
    "steps": facts["steps"],
    "seconds of training": facts["wall_seconds"] and f"{facts['wall_seconds']:.0f}",
    "device": facts["device"],
    "versions": facts["versions"],
    "weights sha256": about.get("weights_sha256"),
  }
  return [(key, _shown(value)) for key, value in rows.items() if value is not None]


def _shown(value):
  if isinstance(value, dict):
    value = ", ".join(f"{key} {item}" for key, item in value.items())
  return escape(str(value))


def _metrics(results):
  if results is None:
    return "Not evaluated.\n"
  values = flatten(results)
  rows = [
    (key, metric.name, "not measured" if values[key] is None else f"{values[key]:.5f}")
    for key, metric in METRICS.items()
  ]
  knowledge = escape(results["salmu_jax"]["general_knowledge"])
  return _table(("metric", "what it measures", "value"), rows) + f"\nGenKnow: {knowledge}.\n"


def _vocabulary(words):
  if words.kept is None:
    return ""
  return (
    f"The model knows {words.vocab_size:,} of CLIP's tokens; the rows of the others are zero. "
    "Texts made of known tokens are read as in training; of others the unknown tokens are lost. "
    "`salmu_jax_tokenizer.json` lists what is known.\n"
  )


def _table(heads, rows):
  return table([heads, ("---",) * len(heads), *rows])
