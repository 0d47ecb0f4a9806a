"""The model card of an exported model: what it is, its training, its metrics, how to load it."""

import os
import pathlib
from typing import Any, NamedTuple

from salmu_jax.data import dataset_card, hub
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
_METRICS_OF_OWN = "The run's `audit.md` states what leaked before and after unlearning.\n"
_SOURCE = (
  f"{published.SOURCE['title']}: {published.SOURCE['page']}, arXiv {published.SOURCE['arxiv']}. "
  "All people are fictitious.\n"
)


class Published(NamedTuple):
  """Where an export is published, for the links on its card; empty if it is not.

  Attributes:
    dataset: the repository of the data and results.
    base_model: the repository of the model that unlearning started from.
  """

  dataset: str = ""
  base_model: str = ""


def markdown(
  folder: str | os.PathLike,
  sizes: Sizes,
  layout: str,
  tokenizer: Tokenizer,
  where: Published = Published(),  # noqa: B008 - immutable
) -> str:
  """README.md of an export.

  Args:
    folder: the finished model folder. Its metrics are read from WORKDIR/results, if they exist.
    sizes: of the export.
    layout: "openclip" or "huggingface".
    tokenizer: of the model.
    where: what the card links to.
  """
  folder = places.place(folder)
  settings = workdir.read_settings(folder)
  facts = workdir.read_model_facts(folder)
  path = folder.parent.parent / "results" / f"{folder.name}.json"
  results = files.read_json(path) if path.exists() else None
  # Only in a workdir of the user's own pairs, see `benchmark.audit`.
  own = (folder.parent.parent / "audit" / f"{folder.name}.json").exists()
  parts = [
    f"---\n{_metadata(folder, layout, settings, results, where)}\n---\n",
    f"# {escape(folder.name)}\n",
    _about_own(settings) if own else _about(settings, results),
    _table(("", ""), _provenance(settings, facts, results)),
    "## Metrics\n",
    _METRICS_OF_OWN if own else _metrics(results),
    "## Use\n",
    f"```python\n{_LOAD[layout]}\n```\n",
    _vocabulary(tokenizer),
    f"Image size {sizes.image_size}, {sizes.embed_dim} dimensions.\n",
    "" if own else _SOURCE,
  ]
  return "\n".join(part for part in parts if part)


def _metadata(folder, layout, settings, results, where):
  """The YAML header that the hub reads: library, licence, base model, data, results."""
  from huggingface_hub import ModelCardData

  card = ModelCardData(
    library_name=_LIBRARY[layout],
    tags=["clip", "machine-unlearning", *(["salmubench"] if results else [])],
    license=dataset_card.LICENCE if results and _trained_here(folder, results) else None,
    base_model=where.base_model if "method" in settings and where.base_model else None,
    datasets=[where.dataset] if where.dataset else None,
    model_name=folder.name,
    eval_results=_eval_results(results, where) if results else None,
  )
  return card.to_yaml()


def _trained_here(folder, results):
  """Whether a model and the model it started from were trained on a generated release."""
  made = results["salmu_jax"]["release"]["name"].startswith(dataset_card.GENERATOR)
  models = (folder, folder.parent / "compromised")
  return made and all(
    (one / workdir.SETTINGS).exists() and "imported" not in workdir.read_settings(one)
    for one in models
  )


def _eval_results(results: dict[str, Any], where: Published):
  """The metrics as the hub's results block."""
  from huggingface_hub import EvalResult

  release, values = results["salmu_jax"]["release"], flatten(results)
  return [
    EvalResult(
      task_type="zero-shot-image-classification",
      dataset_type=where.dataset or "salmubench",
      dataset_name=f"{release['name']}, manifest {release['manifest_sha256'][:12]}",
      metric_type=key,
      metric_name=metric.name,
      metric_value=values[key],
    )
    for key, metric in METRICS.items()
    if values[key] is not None
  ]


def _about_own(settings):
  if "method" not in settings:
    return "A CLIP model that knows pairs to be forgotten.\n"
  return f"A CLIP model after unlearning pairs with the method `{escape(settings['method'])}`.\n"


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
    "imported from": _source(facts.get("weights", {}).get("source")),
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


def _source(address):
  """The origin of weights: an address on the hub, or only the name of a file or folder."""
  return address and (address if hub.is_address(address) else pathlib.PurePath(address).name)


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
    "zero. Texts of known tokens are embedded as in training; unknown tokens are lost. "
    "`salmu_jax_tokenizer.json` lists the known tokens.\n"
  )


def _table(heads, rows):
  return table([heads, ("---",) * len(heads), *rows])
