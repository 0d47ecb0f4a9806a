"""Reads a release: a directory in the published SALMUBench format, generated or downloaded.

    data/{split}-{shard:05d}-of-{shards:05d}.parquet   image, text, identity_id, file_name
    identities_metadata.json                           identity id -> name and private fields
    sensitive_set_captions_metadata.json               file name -> {caption, data_field, ...}
    sensitive_set_generic_captions.json                file name -> caption without private values
    fragile_set_ids.json, fragile_set_all_similarities.json    written with Compromised's scores
    zero_shot.json                                     classes and prompts of the zero-shot split
    manifest.json                                      counts and hashes

Strings are held in memory; images are streamed.
"""

import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from salmu_jax.data import documents, hub, parquet_shards, texts
from salmu_jax.errors import InputError, UnwritableError
from salmu_jax.results import splits
from salmu_jax.runtime import copies, files, places
from salmu_jax.runtime.places import Place

IDENTITIES = "identities_metadata.json"
CAPTIONS = "sensitive_set_captions_metadata.json"
GENERIC = "sensitive_set_generic_captions.json"
FRAGILE = "fragile_set_ids.json"
FRAGILE_SIMILARITIES = "fragile_set_all_similarities.json"
ZERO_SHOT = "zero_shot.json"
MANIFEST = "manifest.json"
_HASHES = "release_hashes.json"  # of a release without a manifest, in a scratch folder


class Release(NamedTuple):
  """An opened release.

  Attributes:
    name: its name in tables.
    path: its directory on the disk; for a release in a bucket, that of the copy.
    home: where it was opened from.
    shards: split -> files in row order.
    counts: split -> rows.
    identities: id -> {"name", private fields}.
    captions: file name -> {"caption", "data_field", ...}.
    generic: file name -> caption without private values.
    zero_shot: {"classes": [...], "prompts": [...]} or None.
    manifest: the content of manifest.json, {} without one.
    hashes: {file: SHA-256} by the manifests.
    digest: SHA-256 of the manifests, or of the content without them. It identifies the release in
      every result.
  """

  name: str
  path: pathlib.Path
  home: Place
  shards: Mapping[str, Sequence[pathlib.Path]]
  counts: Mapping[str, int]
  identities: Mapping[str, Mapping]
  captions: Mapping[str, Mapping]
  generic: Mapping[str, str]
  zero_shot: Mapping[str, Sequence[str]] | None
  manifest: Mapping
  hashes: Mapping[pathlib.Path, str]
  digest: str


def locate(address: str, field: str = "config.release") -> Place:
  """The place of an address; downloads hub:OWNER/NAME@REVISION unless it is cached.

  Raises:
    InputError: see `hub.fetch` and `places.place`; names `field`.
  """
  if hub.is_address(address):
    return hub.fetch(address, "dataset", field)
  return places.place(address, field)


def open_release(
  address: str | os.PathLike,
  required: Sequence[str] | None = None,
  *,
  training: str = "",
  scratch: pathlib.Path | None = None,
) -> Release:
  """Opens and validates a release, without reading images.

  Args:
    address: the directory, on a disk or in a bucket, or hub:OWNER/NAME@REVISION.
    required: the splits that must be present, `splits.judged()` if None; others are optional.
    training: address of a second directory with more splits, such as the published training
      data, or "".
    scratch: a folder for the copy of a release in a bucket, and for the hashes of a release
      without a manifest, see `parquet_shards.hashes`; None to copy into the user's cache
      directory, and to hash every time.

  Raises:
    InputError: names the file or the row that is missing, truncated, duplicated or unknown.
  """
  address = str(address)
  homes = [locate(address)]
  if training:
    homes.append(locate(training, "config.training_release"))
  folders = [copies.on_disk(home, scratch or places.cache(), "the release") for home in homes]
  path, shards = folders[0], parquet_shards.find(folders[0])
  if training:
    shards = _joined(path, shards, folders[1], parquet_shards.find(folders[1]))
  _check_shards(path, shards, splits.judged() if required is None else required)
  counts = {split: sum(map(parquet_shards.row_count, shards[split])) for split in shards}
  manifests = [documents.read_manifest(folder / MANIFEST, counts) for folder in folders]
  release = Release(
    name=_name(address, path, manifests[0]),
    path=path,
    home=homes[0],
    shards=shards,
    counts=counts,
    # Own pairs without facts may leave out the person.
    identities=documents.read_people(path / IDENTITIES, named=manifests[0].get("facts", True)),
    captions=documents.read_captions(path / CAPTIONS),
    generic=documents.read_generic(path / GENERIC),
    zero_shot=documents.read_zero_shot(path / ZERO_SHOT) if "zero_shot" in shards else None,
    manifest=manifests[0],
    hashes=_hashes(folders, manifests),
    digest=_digest(folders, manifests, scratch and scratch / _HASHES),
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
      parquet_shards.check_columns(file)


def columns(release: Release, split: str) -> dict[str, np.ndarray]:
  """The strings of a split in row order: {"file_name", "text", "identity_id"}, arrays (N,) of str.

  A null becomes "". A split that the release lacks has no rows.
  """
  names = ("file_name", "text", "identity_id")
  tables = [parquet_shards.strings(file, names) for file in release.shards.get(split, ())]
  return {name: np.array([v for table in tables for v in table[name]], object) for name in names}


def rows(release: Release, split: str, *, batch_rows: int = 64) -> Iterator[dict]:
  """Streams the rows of a split in order, holding `batch_rows` of them at a time.

  Yields:
    {"image": encoded bytes, "text", "identity_id": "" for null, "file_name"}.

  Raises:
    InputError: a shard is damaged, or an image is not embedded in it; names the shard.
  """
  for file in release.shards[split]:
    # Without pre-buffering, a row group as large as the shard is still read in parts.
    with (
      parquet_shards.reading(file),
      pq.ParquetFile(file, pre_buffer=False, buffer_size=2**20) as parquet,
    ):
      number = 0
      for batch in parquet.iter_batches(batch_size=batch_rows, columns=parquet_shards.SCHEMA.names):
        for row in batch.to_pylist():
          parquet_shards.check_embedded(row["image"], file, number)
          image, identity = row["image"]["bytes"], row["identity_id"] or ""
          yield {**row, "image": image, "identity_id": identity}
          number += 1


def text_of(value: str | bytes) -> str:
  """A text of a row; records hold it as bytes."""
  return value.decode() if isinstance(value, bytes) else str(value)


def verify(release: Release) -> None:
  """Compares every file that a manifest lists with its hash.

  Raises:
    InputError: a file is missing or differs from its hash.
  """
  for file, expected in release.hashes.items():
    if not file.is_file():
      raise InputError(f"{file} is missing, but {MANIFEST} lists it. Restore it.")
    digest = files.sha256(file)
    if digest != expected:
      raise InputError(
        f"{file} is not the file that {MANIFEST} lists: its SHA-256 is {digest}, expected "
        f"{expected}. Restore it, or delete the release to generate it again."
      )


def read_fragile(release: Release, known: Iterable[str] | None = None) -> list[str] | None:
  """The sorted file names of the fragile set, or None until Compromised has scored its candidates.

  Args:
    release: an opened release.
    known: the file names of retain_synth; read from its shards if None.

  Raises:
    InputError: the file is not a list, or has a name that is not in retain_synth.
  """
  path = release.path / FRAGILE
  if not path.exists():
    return None
  names = documents.read_file_names(path)
  known = columns(release, "retain_synth")["file_name"] if known is None else known
  unknown = sorted(set(names) - set(known))
  if unknown:
    raise InputError(f"{path} names {unknown[0]!r}, which is not a file_name of retain_synth.")
  return sorted(names)


def write_fragile(
  release: Release,
  file_names: Sequence[str],
  similarities: Sequence[float],
  at_home: bool = True,
  share: float = 0.1,
) -> list[str]:
  """Stores the fragile set: the lowest `share` of retain_disjoint by similarity under Compromised.

  Args:
    release: an opened release.
    file_names: (N,) str, the rows of retain_disjoint.
    similarities: (N,) float, their cosines.
    at_home: whether to write to a release in a bucket too; one process of a run does.
    share: of the rows, in (0, 1].

  Returns:
    The sorted file names of the set.
  """
  values = np.asarray(similarities, np.float64)
  order = sorted(range(len(file_names)), key=lambda i: (values[i], file_names[i]))
  chosen = sorted(file_names[i] for i in order[: max(1, round(share * len(order)))])
  table = {file_names[i]: float(values[i]) for i in sorted(order, key=lambda i: file_names[i])}
  for folder in _fragile_homes(release, at_home):
    files.write_json(folder / FRAGILE_SIMILARITIES, table)
    files.write_json(folder / FRAGILE, chosen)
  return chosen


def check_fragile_writable(release: Release, at_home: bool = True) -> None:
  """Raises InputError unless `write_fragile` can write where the release is.

  Args:
    release, at_home: as for `write_fragile`.
  """
  for folder in _fragile_homes(release, at_home):
    try:
      files.require_writable(folder)
    except UnwritableError as error:
      raise InputError(
        f"The release {folder} has no {FRAGILE} yet, and a run cannot add it: the folder is not "
        f"writable ({places.reason(error.__cause__)}). Make it writable, or copy the release to a "
        "folder that is, and name that in config.release."
      ) from error


def _fragile_homes(release, at_home):
  """The folders that `write_fragile` writes to."""
  remote = places.is_remote(release.home) and at_home
  return (release.home, release.path) if remote else (release.path,)


def _joined(path, shards, training_path, training_shards):
  """The splits of both directories; a split in both is an error."""
  doubled = sorted(shards.keys() & training_shards.keys())
  if doubled:
    raise InputError(
      f"Both config.release ({path}) and config.training_release ({training_path}) have the split "
      f"{doubled[0]!r}, so it is ambiguous. Remove one of the two."
    )
  return shards | training_shards


def _name(address, path, manifest):
  """The release's name in tables: its generator, its address on the hub, or its folder."""
  if hub.is_address(address):
    place = hub.parse(address, "config.release")
    return f"{place.repo}@{place.revision[:12]}"
  return manifest.get("generator") or path.name


def _hashes(folders, manifests):
  """{file: the SHA-256 that a manifest has of it}."""
  return {
    folder / name: digest
    for folder, manifest in zip(folders, manifests, strict=True)
    for name, digest in manifest.get("files", {}).items()
  }


def _digest(folders, manifests, known):
  """Identifies the content: for one folder with a manifest, the hash of that."""
  parts = []
  for folder, manifest in zip(folders, manifests, strict=True):
    if manifest:
      parts.append(files.sha256(folder / MANIFEST))
      continue
    paths = [file for shards in parquet_shards.find(folder).values() for file in shards]
    documents_of = [folder / name for name in (IDENTITIES, CAPTIONS, GENERIC, ZERO_SHOT)]
    paths += [file for file in documents_of if file.exists()]
    hashes = parquet_shards.hashes(paths, known)
    parts.append(files.digest({str(f.relative_to(folder)): digest for f, digest in hashes.items()}))
  return parts[0] if len(parts) == 1 else files.digest(parts)


def _check_content(release):
  """Raises InputError for rows and JSON files that do not match."""
  for split in (*splits.judged(), "zero_shot"):
    if release.counts.get(split) == 0:
      raise InputError(
        f"The split {split!r} of the release {release.path} has no rows. Restore its shards"
        + (", or remove them." if split == "zero_shot" else ".")
      )
  for split in release.shards.keys() & set(splits.of_a_release()):
    _check_rows(release, split)
  _check_names(release)
  read_fragile(release)


def _check_rows(release, split):
  """Checks that every row has a unique file name, and its entries in the JSON files."""
  table = columns(release, split)
  names = table["file_name"]
  where = f"split {split!r} of {release.path}"
  first_rows = {}
  for row, name in enumerate(names):
    if not name:
      raise InputError(f"Row {row} of {where} has no file_name; every row needs one of its own.")
    if name in first_rows:
      raise InputError(
        f"Rows {first_rows[name]} and {row} of {where} share the file_name {name!r}; every row "
        "needs one of its own."
      )
    first_rows[name] = row
    if not texts.is_filled(table["text"][row]):
      raise InputError(
        f"The text of row {row} ({name!r}) of {where} is empty; every row needs a caption."
      )
  for row, identity in enumerate(table["identity_id"]):
    if identity and identity not in release.identities:
      raise InputError(
        f"Row {row} of {where} ({names[row]!r}) has the identity {identity!r}, which is not in "
        f"{IDENTITIES}."
      )
  if split in (*splits.sensitive(), "sensitive"):
    for file, entries in ((CAPTIONS, release.captions), (GENERIC, release.generic)):
      missing = [name for name in names if name not in entries]
      if missing:
        raise InputError(f"{file} has no entry for {missing[0]!r}, a row of {where}.")
    for name, identity in zip(names, table["identity_id"], strict=True):
      _check_leak(release, name, identity, f"{name!r}, a row of {where},")


def _check_leak(release, name, identity, where):
  """Checks that a sensitive row leaks a field of its identity, whose value is a filled string."""
  if not identity:
    raise InputError(f"{where} has no identity_id; a row that leaks a private field needs one.")
  field, person = release.captions[name]["data_field"], release.identities[identity]
  if field not in person:
    raise InputError(
      f"{CAPTIONS} says that {where} leaks the field {field!r}, but {IDENTITIES} has only "
      f"{', '.join(person)} for {identity!r}. Add the field."
    )
  value = person[field]
  values = value if isinstance(value, list) else [str(value) if type(value) is int else value]
  if not values or not all(map(texts.is_filled, values)):
    raise InputError(
      f"{IDENTITIES} has {value!r} as {field!r} of {identity!r}; it must be a non-empty string, or "
      "a list of such strings."
    )


def _check_names(release):
  """Checks that every file name in the JSON files is a row of a sensitive split."""
  present = [s for s in (*splits.sensitive(), "sensitive") if s in release.shards]
  names = {name for split in present for name in columns(release, split)["file_name"]}
  for file, entries in ((CAPTIONS, release.captions), (GENERIC, release.generic)):
    unknown = sorted(entries.keys() - names)
    if unknown:
      raise InputError(
        f"{release.path / file} lists {unknown[0]!r} and {len(unknown) - 1} more that are not rows "
        f"of {', '.join(present)}. Restore the file, or the shards that hold these rows."
      )
