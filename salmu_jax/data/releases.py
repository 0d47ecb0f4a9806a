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

import pathlib
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from salmu_jax.data import hub
from salmu_jax.data import shards as shards_lib
from salmu_jax.errors import InputError
from salmu_jax.results import splits
from salmu_jax.runtime import files

IDENTITIES = "identities_metadata.json"
CAPTIONS = "sensitive_set_captions_metadata.json"
GENERIC = "sensitive_set_generic_captions.json"
FRAGILE = "fragile_set_ids.json"
FRAGILE_SIMILARITIES = "fragile_set_all_similarities.json"
ZERO_SHOT = "zero_shot.json"
MANIFEST = "manifest.json"


class Release(NamedTuple):
  """An opened release.

  shards: split -> files in row order. counts: split -> rows. identities: id -> name and fields.
  captions: file name -> {"caption", "data_field", ...}. generic: file name -> caption.
  zero_shot: {"classes": [...], "prompts": [...]} or None. manifest: its content, {} where there is
    none.
  listed: {file: SHA-256} as manifests say. digest: SHA-256 over manifests, or over the content
    where
  there is none; it names the release in every result.
  """

  name: str
  path: pathlib.Path
  shards: dict
  counts: dict
  identities: dict
  captions: dict
  generic: dict
  zero_shot: dict | None
  manifest: dict
  listed: dict
  digest: str


def locate(address, field="config.release"):
  """The directory that an address names; `hub:OWNER/NAME@REVISION` is downloaded or found in the
  cache.

  Raises:
    InputError: see `hub.fetch`; `field` is named in it.
  """
  if hub.is_address(address):
    return hub.fetch(address, "dataset", field)
  return pathlib.Path(address).expanduser()


def open_release(address, required=None, *, training="", known_hashes=None):
  """Opens and validates a release, without reading images.

  Args:
    address: the directory, or hub:OWNER/NAME@REVISION.
    required: the splits that must be there, those of `splits.judged` if None; others are opened
      where present.
    training: address of a second directory with more splits, as the published training data is;
      or "".
    known_hashes: a file that spares hashing a release without a manifest again, see
      `shards.hashes`.

  Raises:
    InputError: naming the file or the row that is missing, truncated, doubled or unknown.
  """
  address = str(address)
  path = locate(address)
  shards = shards_lib.find(path)
  folders = [path]
  if training:
    folders.append(locate(training, "config.training_release"))
    shards = _joined(path, shards, folders[1], shards_lib.find(folders[1]))
  _check_shards(path, shards, splits.judged() if required is None else required)
  counts = {split: sum(map(shards_lib.rows_of, shards[split])) for split in shards}
  manifests = [_read_manifest(folder, counts) for folder in folders]
  release = Release(
    name=_name(address, path, manifests[0]),
    path=path,
    shards=shards,
    counts=counts,
    identities=_read_table(path / IDENTITIES, dict),
    captions=_read_table(path / CAPTIONS, dict),
    generic=_read_table(path / GENERIC, str),
    zero_shot=_read_zero_shot(path / ZERO_SHOT) if "zero_shot" in shards else None,
    manifest=manifests[0],
    listed={
      folder / name: digest
      for folder, manifest in zip(folders, manifests, strict=True)
      for name, digest in manifest.get("files", {}).items()
    },
    digest=_digest(folders, manifests, known_hashes),
  )
  _check_content(release)
  return release


def _check_shards(path, shards, required):
  missing = [split for split in required if split not in shards]
  if missing:
    raise InputError(
      f"The release {path} lacks the split {missing[0]!r}: no data/{missing[0]}-*.parquet. It has "
      f"{', '.join(sorted(shards))}."
    )
  for split in shards.keys() & set(splits.of_a_release()):
    for file in shards[split]:
      shards_lib.check_columns(file)


def columns(release, split):
  """The strings of a split in row order: {"file_name", "text", "identity_id"}, arrays (N,) of str.

  A null identity comes back as "".
  """
  tables = []
  for file in release.shards[split]:
    with shards_lib.reading(file):
      tables.append(pq.read_table(file, columns=["file_name", "text", "identity_id"]))
  return {
    name: np.array([value or "" for table in tables for value in table[name].to_pylist()], object)
    for name in ("file_name", "text", "identity_id")
  }


def leak(release, identity, file_name, text):
  """(name, field, value) that a sensitive row tells.

  Of several values, as e-mail addresses, the one that the caption holds, else the first.
  """
  person, field = release.identities[identity], release.captions[file_name]["data_field"]
  value = person[field]
  if isinstance(value, list):
    # One address may end in another.
    value = max((each for each in value if each in text), key=len, default=value[0])
  return person["name"], field, str(value)


def rows(release, split, *, read=64):
  """Streams a split: dicts of `image` (encoded bytes), `text`, `identity_id` ("" for null),
  `file_name`, in row order, holding `read` rows at a time."""
  for file in release.shards[split]:
    # Without pre-buffering, a row group as large as the shard is still read in parts.
    with (
      shards_lib.reading(file),
      pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as parquet,
    ):
      for batch in parquet.iter_batches(batch_size=read, columns=shards_lib.SCHEMA.names):
        for row in batch.to_pylist():
          image = row["image"]["bytes"] if row["image"] else None
          yield {**row, "image": image or b"", "identity_id": row["identity_id"] or ""}


def verify(release):
  """Compares every file that a manifest lists with its hash.

  Raises:
    InputError: a file is missing or its content is not what the manifest says.
  """
  for file, expected in release.listed.items():
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
    InputError: it is no list, or a name in it is not a row of retain_synth.
  """
  path = release.path / FRAGILE
  if not path.exists():
    return None
  names = files.read_json(path)
  if not _is_texts(names):
    raise InputError(f"{path} must hold a list of file names. Restore it from its source.")
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


def _joined(path, shards, other, more):
  """The splits of both directories; one that both have is an error."""
  doubled = sorted(shards.keys() & more.keys())
  if doubled:
    raise InputError(
      f"Both config.release ({path}) and config.training_release ({other}) have the split "
      f"{doubled[0]!r}, so it is not clear which is meant. Take one of the two away."
    )
  return shards | more


def _name(address, path, manifest):
  """What tables call the release: its generator, its place on the hub, or its folder."""
  if hub.is_address(address):
    place = hub.parse(address, "config.release")
    return f"{place.repo}@{place.revision[:12]}"
  return manifest.get("generator") or path.name


def _read_table(path, kind):
  """A JSON object with a value of `kind`, dict or str, for each of its keys."""
  table, what = files.read_json(path), {dict: "an object", str: "a text"}[kind]
  if not isinstance(table, dict):
    raise InputError(
      f"{path} holds a {type(table).__name__}; it must be a JSON object with {what} for each key. "
      "Restore it from its source."
    )
  for key, value in table.items():
    if not isinstance(value, kind):
      raise InputError(
        f"{path} has {value!r} for {key!r}; it must be {what}. Restore it from its source."
      )
  return table


def _read_zero_shot(path):
  found = files.read_json(path)
  lists = [found.get(key) for key in ("classes", "prompts")] if isinstance(found, dict) else [None]
  if not all(_is_texts(texts) and texts for texts in lists):
    raise InputError(
      f"{path} must hold an object with two lists of texts, `classes` and `prompts`. Restore it "
      "from its source."
    )
  return found


def _is_texts(value):
  return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _read_manifest(folder, counts):
  """The manifest, its counts checked; {} for a release that came without one."""
  if not (folder / MANIFEST).exists():
    return {}
  manifest = files.read_json(folder / MANIFEST)
  parts = (
    [manifest.get(key) for key in ("counts", "files")] if isinstance(manifest, dict) else [None]
  )
  if not all(isinstance(part, dict) for part in parts):
    raise InputError(
      f"{folder / MANIFEST} is no manifest of a release: it must be an object with the objects "
      "`counts` and `files`. Restore it, or take it away: a release is read without one too."
    )
  for split, count in manifest["counts"].items():
    if counts.get(split) != count:
      raise InputError(
        f"The split {split!r} of the release {folder} has {counts.get(split, 0)} rows; {MANIFEST} "
        f"says {count}. Restore its shards."
      )
  return manifest


def _digest(folders, manifests, known_hashes):
  """Names the content: the manifest's hash where the release is one folder that has one."""
  parts = []
  for folder, manifest in zip(folders, manifests, strict=True):
    if manifest:
      parts.append(files.sha256(folder / MANIFEST))
      continue
    listed = [file for split in shards_lib.find(folder).values() for file in split]
    texts = [folder / name for name in (IDENTITIES, CAPTIONS, GENERIC, ZERO_SHOT)]
    listed += [file for file in texts if file.exists()]
    found = shards_lib.hashes(listed, known_hashes)
    parts.append(files.digest({str(f.relative_to(folder)): digest for f, digest in found.items()}))
  return parts[0] if len(parts) == 1 else files.digest(parts)


def _check_content(release):
  """Raises InputError for rows, and names in the JSON files, that do not belong together."""
  for split in (*splits.judged(), "zero_shot"):
    if release.counts.get(split) == 0:
      raise InputError(
        f"The split {split!r} of the release {release.path} has no rows. Restore its shards"
        + (", or take them away." if split == "zero_shot" else ".")
      )
  for split in release.shards.keys() & set(splits.of_a_release()):
    _check_rows(release, split)
  _check_names(release)
  read_fragile(release)


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
  if split in (*splits.sensitive(), "sensitive"):
    for file, known in ((CAPTIONS, release.captions), (GENERIC, release.generic)):
      lacking = [name for name in names if name not in known]
      if lacking:
        raise InputError(f"{file} has no entry for {lacking[0]!r}, a row of {where}.")
    for name, identity in zip(names, table["identity_id"], strict=True):
      _check_leak(release, name, identity, f"{name!r}, a row of {where},")


def _check_leak(release, name, identity, who):
  """The caption of a sensitive row names a field that its identity has, as text."""
  if not identity:
    raise InputError(
      f"{who} has no identity_id, which a row that leaks something of someone needs."
    )
  field, person = release.captions[name].get("data_field"), release.identities[identity]
  if "name" not in person or field not in person:
    raise InputError(
      f"{CAPTIONS} says that {who} leaks the field {field!r}; {IDENTITIES} has of {identity!r} "
      f"only {', '.join(person)}, and `name` and that field are needed."
    )
  value = person[field]
  if not isinstance(value[0] if isinstance(value, list) and value else value, str | int):
    raise InputError(
      f"{IDENTITIES} has {value!r} as {field!r} of {identity!r}; it must be a text, or a list of "
      "them."
    )


def _check_names(release):
  """Every file name that the JSON files list is a row of a sensitive split."""
  present = [s for s in (*splits.sensitive(), "sensitive") if s in release.shards]
  names = {name for split in present for name in columns(release, split)["file_name"]}
  for file, known in ((CAPTIONS, release.captions), (GENERIC, release.generic)):
    unknown = sorted(known.keys() - names)
    if unknown:
      raise InputError(
        f"{release.path / file} lists {unknown[0]!r} and {len(unknown) - 1} more that are not rows "
        f"of {', '.join(present)}. Restore the file, or the shards that hold these rows."
      )
