"""The dataset card of a generated release: README.md for the Hugging Face hub and `datasets`, and
croissant.json for readers of Croissant (https://mlcommons.org/croissant).

The manifest, which identifies a release by its content, lists neither.
"""

import pathlib
from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from salmu_jax.data import parquet_shards
from salmu_jax.report import markdown as md
from salmu_jax.results import published
from salmu_jax.results.splits import SPLITS
from salmu_jax.runtime import files

README, CROISSANT = "README.md", "croissant.json"
# The scenes are drawn from OpenMoji's art, whose licence covers derived works too (share-alike).
LICENCE = "cc-by-sa-4.0"
GENERATOR = "salmu_jax "  # prefix of the generator in a manifest
_LICENCE_PAGE = "https://creativecommons.org/licenses/by-sa/4.0/"
_NAME = "salmu_jax_release"
_PARQUET = "application/x-parquet"
_TITLE = "Fictitious people and their private attributes, a SALMUBench release of salmu_jax"
_COLUMNS = {"image": "image", "text": "string", "identity_id": "string", "file_name": "string"}
_ABOUT = {
  "image": "the image, JPEG",
  "text": "its caption; in `zero_shot` the name of its class",
  "identity_id": "the person shown, a key of identities_metadata.json; null for unknown people",
  "file_name": "unique in its split, a key of the other JSON files",
}
_SPLITS = {
  "sensitive": "all images whose captions state a private value",
  "forget": "the rows of `sensitive` to forget",
  "holdout_association": "rows of `sensitive` to keep, of people who are also in `forget`",
  "holdout_identity": "rows of `sensitive` to keep, of other people",
  "retain_synth": "portraits whose captions state nothing private",
  "retain_real": "captioned scenes without people",
  "zero_shot": "a test of general knowledge: classes of objects",
}


def write(folder: pathlib.Path, manifest: Mapping[str, Any]) -> None:
  """Writes README.md and croissant.json of a generated release.

  Args:
    folder: of the release, complete. manifest: its manifest.
  """
  shards = parquet_shards.find(folder)
  files.write_json(folder / CROISSANT, _croissant(folder, manifest, shards))
  files.write_text(folder / README, _readme(manifest, shards))


def _readme(manifest, shards):
  """The dataset card: YAML for the hub, then text for people."""
  settings = manifest["settings"]
  rows = [["split", "rows", "holds"], ["---", "---:", "---"]]
  rows += [[f"`{s}`", f"{manifest['counts'][s]:,}", _SPLITS[s]] for s in shards]
  made = [["setting", "value"], ["---", "---"], ["seed", str(manifest["seed"])]]
  made += [[f"`{name}`", md.escape(str(value))] for name, value in settings.items()]
  columns = [["column", "is"], ["---", "---"], *([f"`{k}`", v] for k, v in _ABOUT.items())]
  held = [f"`{name}`" for name, split in SPLITS.items() if name in shards and not split.readers]
  return "\n".join(
    [
      f"---\n{_metadata(manifest, shards)}---\n",
      f"# {_TITLE}\n",
      f"Drawn by {manifest['generator']}, which uses it to test whether a CLIP model can forget "
      "single associations of a face and a private value. All people are fictitious; telephone "
      "numbers, IBANs, cards and e-mail addresses are invalid by construction.\n",
      '```python\nimport datasets\n\ndatasets.load_dataset(".", split="forget")\n```\n',
      md.table(columns),
      md.table(rows),
      f"{', '.join(held)} are for evaluation alone: training or unlearning on them voids the "
      "result.\n",
      f"The scenes are drawn from [OpenMoji](https://openmoji.org) art (CC BY-SA 4.0), so the data "
      f"carry [that licence]({_LICENCE_PAGE}).\n",
      "## How it was made\n",
      md.table(made),
      f"The same settings and seed give the same files; `manifest.json` has their SHA-256. "
      f"The format is that of {published.SOURCE['title']} (arXiv {published.SOURCE['arxiv']}).\n",
    ]
  )


def _metadata(manifest, shards):
  """The YAML that `datasets` and the hub read: licence, size, splits, column types."""
  from huggingface_hub import DatasetCardData

  counts = manifest["counts"]
  sizes = {split: sum(file.stat().st_size for file in shards[split]) for split in shards}
  card = DatasetCardData(
    license=LICENCE,
    language=["en"],
    pretty_name=_TITLE,
    task_categories=["zero-shot-image-classification", "image-to-text"],
    tags=["machine-unlearning", "clip", "salmubench", "synthetic"],
    size_categories=[_size_category(sum(counts[split] for split in shards))],
    annotations_creators=["machine-generated"],
    configs=[
      {
        "config_name": "default",
        "data_files": [{"split": split, "path": f"data/{split}-*.parquet"} for split in shards],
      }
    ],
    dataset_info={
      "features": [{"name": name, "dtype": kind} for name, kind in _COLUMNS.items()],
      "splits": [
        {"name": split, "num_bytes": _bytes_in_memory(shards[split]), "num_examples": counts[split]}
        for split in shards
      ],
      "download_size": sum(sizes.values()),
      "dataset_size": sum(_bytes_in_memory(shards[split]) for split in shards),
    },
  )
  return card.to_yaml() + "\n"


def _bytes_in_memory(shards):
  groups = (pq.read_metadata(file) for file in shards)
  return sum(one.row_group(k).total_byte_size for one in groups for k in range(one.num_row_groups))


def _size_category(rows):
  """The hub's name of a number of rows."""
  bounds = {10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M"}
  return next((name for bound, name in bounds.items() if rows < bound), "1M<n<10M")


def _croissant(folder, manifest, shards):
  """The release as Croissant 1.0: every file with its hash, a record set for each split."""
  distribution = []
  for split, paths in shards.items():
    names = [str(path.relative_to(folder)) for path in paths]
    distribution += [
      _file_object(folder, name, manifest, "application/x-parquet") for name in names
    ]
    distribution.append(
      {
        "@type": "cr:FileSet",
        "@id": split,
        "name": split,
        "encodingFormat": "application/x-parquet",
        "includes": f"data/{split}-*.parquet",
      }
    )
  texts = [name for name in manifest["files"] if name.endswith(".json")]
  distribution += [_file_object(folder, name, manifest, "application/json") for name in texts]
  return {
    "@context": _CONTEXT,
    "@type": "sc:Dataset",
    "conformsTo": "http://mlcommons.org/croissant/1.0",
    "name": _NAME,
    "description": f"{_TITLE}. Drawn by {manifest['generator']}, seed {manifest['seed']}.",
    "license": _LICENCE_PAGE,
    "url": published.SOURCE["page"],
    "creator": {"@type": "Organization", "name": "salmu_jax"},
    "version": "1.0.0",
    "isLiveDataset": False,
    "citeAs": f"{published.SOURCE['title']}, arXiv {published.SOURCE['arxiv']}",
    "distribution": distribution,
    "recordSet": [_record_set(split) for split in shards],
  }


def _file_object(folder, name, manifest, encoding):
  return {
    "@type": "cr:FileObject",
    "@id": name,
    "name": name,
    "contentUrl": name,
    "contentSize": f"{(folder / name).stat().st_size} B",
    "encodingFormat": encoding,
    "sha256": manifest["files"][name],
  }


def _record_set(split):
  """The rows of a split."""

  def field(name, kind):
    source = {"fileSet": {"@id": split}, "extract": {"column": name}}
    if kind == "image":
      source["transform"] = {"jsonPath": "bytes"}
    data_type = "sc:ImageObject" if kind == "image" else "sc:Text"
    described = {"name": name, "description": _ABOUT[name], "dataType": data_type}
    return {"@type": "cr:Field", "@id": f"rows_{split}/{name}", **described, "source": source}

  fields = [field(name, kind) for name, kind in _COLUMNS.items()]
  about = {"name": f"rows_{split}", "description": _SPLITS[split], "field": fields}
  return {"@type": "cr:RecordSet", "@id": f"rows_{split}", **about}


# The context of Croissant 1.0: every reader expects these terms.
_CONTEXT = {
  "@language": "en",
  "@vocab": "https://schema.org/",
  "citeAs": "cr:citeAs",
  "column": "cr:column",
  "conformsTo": "dct:conformsTo",
  "cr": "http://mlcommons.org/croissant/",
  "rai": "http://mlcommons.org/croissant/RAI/",
  "data": {"@id": "cr:data", "@type": "@json"},
  "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
  "dct": "http://purl.org/dc/terms/",
  "equivalentProperty": "cr:equivalentProperty",
  "examples": {"@id": "cr:examples", "@type": "@json"},
  "extract": "cr:extract",
  "field": "cr:field",
  "fileProperty": "cr:fileProperty",
  "fileObject": "cr:fileObject",
  "fileSet": "cr:fileSet",
  "format": "cr:format",
  "includes": "cr:includes",
  "isLiveDataset": "cr:isLiveDataset",
  "jsonPath": "cr:jsonPath",
  "key": "cr:key",
  "md5": "cr:md5",
  "parentField": "cr:parentField",
  "path": "cr:path",
  "recordSet": "cr:recordSet",
  "references": "cr:references",
  "regex": "cr:regex",
  "repeated": "cr:repeated",
  "replace": "cr:replace",
  "samplingRate": "cr:samplingRate",
  "sc": "https://schema.org/",
  "separator": "cr:separator",
  "source": "cr:source",
  "subField": "cr:subField",
  "transform": "cr:transform",
}
