"""Reads a release: a directory in the published SALMUBench format, generated or downloaded.

    data/{split}-{shard:05d}-of-{shards:05d}.parquet   image, text, identity_id, file_name
    identities_metadata.json                           identity id -> name and private fields
    sensitive_set_captions_metadata.json               file name -> {caption, data_field, ...}
    sensitive_set_generic_captions.json                file name -> caption without private values
    fragile_set_ids.json, fragile_set_all_similarities.json    known once a Compromised model is
    zero_shot.json                                     classes and prompts of the zero-shot split
    manifest.json                                      counts and hashes

Only strings are ever held whole; images are streamed.
"""

import contextlib
import pathlib
import re
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from salmu_jax import files
from salmu_jax.errors import InputError

SENSITIVE_SPLITS = ("forget", "holdout_association", "holdout_identity")
BENCHMARK_SPLITS = (*SENSITIVE_SPLITS, "retain_synth")
TRAINING_SPLITS = ("sensitive", "retain_real")
SCHEMA = pa.schema(
  [
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("text", pa.string()),
    ("identity_id", pa.string()),
    ("file_name", pa.string()),
  ]
)
IDENTITIES = "identities_metadata.json"
CAPTIONS = "sensitive_set_captions_metadata.json"
GENERIC = "sensitive_set_generic_captions.json"
FRAGILE = "fragile_set_ids.json"
FRAGILE_SIMILARITIES = "fragile_set_all_similarities.json"
ZERO_SHOT = "zero_shot.json"
MANIFEST = "manifest.json"
_SHARD = re.compile(r"(?P<split>\w+)-(?P<index>\d{5})-of-(?P<count>\d{5})\.parquet")


class Release(NamedTuple):
  """An opened release.

  shards: split -> files in row order. counts: split -> rows. identities: id -> name and fields.
  captions: file name -> {"caption", "data_field", ...}. generic: file name -> caption.
  zero_shot: {"classes": [...], "prompts": [...]} or None. manifest: its content.
  digest: SHA-256 of the manifest, which names the release in every result.
  """

  path: pathlib.Path
  shards: dict
  counts: dict
  identities: dict
  captions: dict
  generic: dict
  zero_shot: dict | None
  manifest: dict
  digest: str


def open_release(path, splits=(*BENCHMARK_SPLITS, *TRAINING_SPLITS)):
  """Opens and validates a release, without reading images.

  Args:
    path: the directory.
    splits: those that must be there; others are opened where present.

  Raises:
    InputError: naming the file or the row that is missing, truncated, doubled or unknown.
  """
  path = pathlib.Path(path).expanduser()
  if not (path / "data").is_dir():
    raise InputError(
      f"{path} is not a release: it has no folder data/. config.release must name a directory in "
      "the published format, or be empty to generate one."
    )
  shards = _find_shards(path)
  missing = [split for split in splits if split not in shards]
  if missing:
    raise InputError(
      f"The release {path} lacks the split {missing[0]!r}: no data/{missing[0]}-*.parquet. It has "
      f"{', '.join(sorted(shards))}."
    )
  counts = {split: sum(_rows_of(file) for file in shards[split]) for split in shards}
  manifest, digest = _read_manifest(path, shards, counts)
  release = Release(
    path=path,
    shards=shards,
    counts=counts,
    identities=files.read_json(path / IDENTITIES),
    captions=files.read_json(path / CAPTIONS),
    generic=files.read_json(path / GENERIC),
    zero_shot=files.read_json(path / ZERO_SHOT) if "zero_shot" in shards else None,
    manifest=manifest,
    digest=digest,
  )
  for split in shards:
    _check_rows(release, split)
  return release


def columns(release, split):
  """The strings of a split in row order: {"file_name", "text", "identity_id"}, arrays (N,) of str.

  A null identity comes back as "".
  """
  tables = []
  for file in release.shards[split]:
    with _reading(file):
      tables.append(pq.read_table(file, columns=["file_name", "text", "identity_id"]))
  table = pa.concat_tables(tables).to_pydict()
  return {name: np.array([value or "" for value in table[name]], object) for name in table}


def rows(release, split, *, read=64):
  """Streams a split: dicts of `image` (encoded bytes), `text`, `identity_id` ("" for null),
  `file_name`, in row order, holding `read` rows at a time."""
  for file in release.shards[split]:
    with _reading(file), pq.ParquetFile(file) as parquet:
      for batch in parquet.iter_batches(batch_size=read, columns=SCHEMA.names):
        for row in batch.to_pylist():
          image = row["image"]["bytes"] if row["image"] else None
          yield {**row, "image": image or b"", "identity_id": row["identity_id"] or ""}


def verify(release):
  """Compares every hashed file with the manifest.

  Raises:
    InputError: a file is missing or its content is not what the manifest says.
  """
  for name, expected in release.manifest["files"].items():
    file = release.path / name
    if not file.is_file():
      raise InputError(f"{file} is missing, though {MANIFEST} lists it. Restore it.")
    found = files.sha256(file)
    if found != expected:
      raise InputError(
        f"{file} is not the file that {MANIFEST} lists: its SHA-256 is {found}, {expected} was "
        "expected. Restore it, or delete the release to have it generated again."
      )


def read_fragile(release):
  """File names of the fragile set, a sorted list, or None where no Compromised has judged yet.

  Raises:
    InputError: a name in the list is not a row of retain_synth.
  """
  path = release.path / FRAGILE
  if not path.exists():
    return None
  names = files.read_json(path)
  unknown = sorted(set(names) - set(columns(release, "retain_synth")["file_name"]))
  if unknown:
    raise InputError(f"{path} names {unknown[0]!r}, which is not a file_name of retain_synth.")
  return sorted(names)


def write_fragile(release, file_names, similarities, share=0.1):
  """Stores the fragile set: the lowest `share` of retain_disjoint by similarity under Compromised.

  Args:
    file_names: (N,) str, the rows of retain_disjoint. similarities: (N,) float, their cosines.

  Returns:
    The sorted list of file names in the set.
  """
  values = np.asarray(similarities, np.float64)
  order = sorted(range(len(file_names)), key=lambda i: (values[i], file_names[i]))
  chosen = sorted(file_names[i] for i in order[: max(1, round(share * len(order)))])
  table = {file_names[i]: float(values[i]) for i in sorted(order, key=lambda i: file_names[i])}
  files.write_json(release.path / FRAGILE_SIMILARITIES, table)
  files.write_json(release.path / FRAGILE, chosen)
  return chosen


def _find_shards(path):
  """split -> sorted shard files; a gap in the numbering is an error."""
  found = {}
  for file in sorted((path / "data").glob("*.parquet")):
    match = _SHARD.fullmatch(file.name)
    if not match:
      raise InputError(f"{file} is not named {{split}}-00000-of-00000.parquet, as shards are.")
    found.setdefault(match["split"], []).append((int(match["index"]), int(match["count"]), file))
  for split, shards in found.items():
    count = shards[0][1]
    absent = sorted(set(range(count)) - {index for index, _, _ in shards})
    if absent:
      name = f"{split}-{absent[0]:05d}-of-{count:05d}.parquet"
      raise InputError(f"The release {path} lacks the shard data/{name}. Restore it.")
  return {split: [file for _, _, file in shards] for split, shards in found.items()}


@contextlib.contextmanager
def _reading(file):
  """Names the shard whose content pyarrow cannot read."""
  try:
    yield
  except (pa.ArrowException, OSError) as error:
    raise InputError(
      f"{file} is truncated, damaged or not a parquet file ({error}). Restore it from its source, or "
      "delete the release to have it generated again."
    ) from error


def _rows_of(file):
  with _reading(file), pq.ParquetFile(file) as parquet:
    names = set(parquet.schema_arrow.names)
    lacking = [name for name in SCHEMA.names if name not in names]
    if lacking:
      raise InputError(f"{file} has no column {lacking[0]!r}; it has {sorted(names)}.")
    return parquet.metadata.num_rows


def _read_manifest(path, shards, counts):
  """The manifest and its digest; a release that came without one is given one in memory."""
  if (path / MANIFEST).exists():
    manifest = files.read_json(path / MANIFEST)
    for split, count in manifest["counts"].items():
      if counts.get(split) != count:
        raise InputError(
          f"The split {split!r} of the release {path} has {counts.get(split, 0)} rows; {MANIFEST} "
          f"says {count}. Restore its shards."
        )
    return manifest, files.sha256(path / MANIFEST)
  listed = [file for split in sorted(shards) for file in shards[split]]
  listed += [path / name for name in (IDENTITIES, CAPTIONS, GENERIC, ZERO_SHOT)]
  hashes = {str(f.relative_to(path)): files.sha256(f) for f in listed if f.exists()}
  manifest = {"generator": None, "counts": counts, "files": hashes}
  return manifest, files.digest(manifest)


def _check_rows(release, split):
  """File names unique and present; identities, captions and generic captions known."""
  table = columns(release, split)
  names = table["file_name"]
  where = f"split {split!r} of {release.path}"
  seen = {}
  for row, name in enumerate(names):
    if not name:
      raise InputError(f"Row {row} of {where} has no file_name; every row needs one of its own.")
    if name in seen:
      raise InputError(
        f"Rows {seen[name]} and {row} of {where} share the file_name {name!r}; every row needs one "
        "of its own."
      )
    seen[name] = row
  for row, identity in enumerate(table["identity_id"]):
    if identity and identity not in release.identities:
      raise InputError(
        f"Row {row} of {where} ({names[row]!r}) has the identity {identity!r}, which "
        f"{IDENTITIES} does not know."
      )
  if split in (*SENSITIVE_SPLITS, "sensitive"):
    for file, known in ((CAPTIONS, release.captions), (GENERIC, release.generic)):
      lacking = [name for name in names if name not in known]
      if lacking:
        raise InputError(f"{file} has no entry for {lacking[0]!r}, a row of {where}.")
