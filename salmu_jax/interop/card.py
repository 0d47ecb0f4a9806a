"""The model card of an exported model: what it is, its training, its metrics, how to load it."""

import os

from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.models.clip import Sizes
from salmu_jax.report.markdown import escape, table
from salmu_jax.results import published
from salmu_jax.results.lookup import flatten
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import files, places, workdir

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


def markdown(folder: str | os.PathLike, sizes: Sizes, layout: str, tokenizer: Tokenizer) -> str:
  """README.md of an export.

  Args:
    folder: the finished model folder. Its metrics are read from WORKDIR/results, if they are there.
    sizes: of the export.
    layout: "openclip" or "huggingface".
    tokenizer: of the model.
  """
  folder = places.place(folder)
  settings = files.read_json(folder / workdir.SETTINGS)
  facts = files.read_json(folder / workdir.DONE)
  path = folder.parent.parent / "results" / f"{folder.name}.json"
  results = files.read_json(path) if path.exists() else None
  parts = [
    f"---\nlibrary_name: {_LIBRARY[layout]}\ntags:\n- clip\n- unlearning\n- salmubench\n---\n",
    f"# {escape(folder.name)}\n",
    _about(settings, results),
    _table(("", ""), _provenance(settings, facts, results)),
    "## Metrics\n",
    _metrics(results),
    "## Use\n",
    f"```python\n{_LOAD[layout]}\n```\n",
    _vocabulary(tokenizer),
    f"{published.SOURCE['title']}: {published.SOURCE['page']}, arXiv {published.SOURCE['arxiv']}. "
    f"Image size {sizes.image_size}, {sizes.embed_dim} dimensions. All people are fictitious.\n",
  ]
  return "\n".join(part for part in parts if part)


def _about(settings, results):
  if "method" in settings:
    return (
      "A CLIP model after unlearning pairs of faces and private attributes with the method "
      f"`{escape(settings['method'])}`, for SALMUBench.\n"
    )
  role = f"{results['salmu_jax']['role']} " if results else ""
  return f"The {escape(role)}model of a SALMUBench experiment.\n"


def _provenance(settings, facts, results):
  """[(label, Markdown)] of how the model was trained."""
  about = results["salmu_jax"] if results else {}
  budget = settings.get("budget")
  rows = {
    "method": settings.get("method"),
    "settings": settings.get("args") or None,
    "optimizer": settings.get("optimizer"),
    "budget": None if budget is None else f"{budget:g}x (1x is one pass over forget)",
    "batch size": settings.get("batch_size"),
    "data read": ", ".join(facts["reads"]) or None,
    "parameters that moved": facts["moves"],
    "start model": settings.get("start"),
    "brought in from": facts.get("weights", {}).get("source"),
    "release": about.get("release", {}).get("name"),
    "release digest": settings.get("release"),
    "seed": settings.get("seed"),
    "steps": facts["steps"],
    "seconds of training": facts["wall_seconds"] and f"{facts['wall_seconds']:.0f}",
    "device": facts["device"],
    "versions": facts["versions"],
    "weights sha256": about.get("weights_sha256"),
  }
  return [(label, _cell(value)) for label, value in rows.items() if value is not None]


def _cell(value):
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


def _vocabulary(tokenizer):
  if tokenizer.kept is None:
    return ""
  return (
    f"The model knows {tokenizer.vocab_size:,} of CLIP's tokens; the embeddings of the others are "
    "zero. Texts of known tokens are read as in training; unknown tokens are lost. "
    "`salmu_jax_tokenizer.json` lists the known tokens.\n"
  )


def _table(heads, rows):
  return table([heads, ("---",) * len(heads), *rows])
