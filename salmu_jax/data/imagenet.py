"""ImageNet-1k for GenKnow: images from folders, tar files or TFDS, and CLIP's names and prompts.

`imagenet.json` holds the 1,000 WordNet ids and OpenAI's class names, both in the order of the
labels, and OpenAI's 80 prompts (see imagenet.LICENSE.txt). OpenCLIP and CLIP_benchmark use the
same. Two names stand for two classes each: "missile" (657, 744) and "sunglasses" (836, 837).
"""

import contextlib
import functools
import importlib.resources
import json
import os
import pathlib
import re
import tarfile
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.errors import InputError
from salmu_jax.runtime import files, progress

# Pictures of each class in the validation set of ImageNet-1k.
_PICTURES_A_CLASS = 50
_ENDINGS = ("jpeg", "jpg", "png", "webp")
# webdataset's rule for a member's name: the key ends at the first dot of the last part.
_MEMBER = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<ending>[^/]+)")
_NUMBER = re.compile(rb"\s*[0-9]{1,9}\s*")
_BUILD = (
  "With tensorflow-datasets, tensorflow, apache-beam and mlcroissant installed, `tfds build "
  "imagenet2012 --file_format=array_record --manual_dir=DIR --data_dir={data_dir}` builds it from "
  "ILSVRC2012_img_val.tar in DIR, which registered users get from image-net.org"
)


def open_source(address: str, field: str = "config.imagenet") -> ZeroShotSet:
  """ImageNet-1k from a local copy.

  Args:
    address: one of
      "imagefolder:DIR", a folder of pictures for each WordNet id, in DIR or in DIR/val;
      "webdataset:DIR", tar files in DIR or in DIR/test, whose members KEY.cls hold the labels of
        the pictures KEY.jpg, .jpeg, .png or .webp (CLIP_benchmark's layout);
      "tfds:DATA_DIR", the validation split of TFDS's imagenet2012 as ArrayRecord; an empty
        DATA_DIR is TFDS's own, $TFDS_DATA_DIR or ~/tensorflow_datasets.
    field: the config field that an error names.

  Raises:
    InputError: the address is not a source, or its files are incomplete; names field and file.
  """
  check_address(address, field)
  kind, _, place = address.partition(":")
  rows, labels = _SOURCES[kind](place, field)
  labels = np.asarray(labels, np.int32)
  texts, sizes = class_texts(), rows.sizes()
  return ZeroShotSet(
    _name(kind, labels),
    texts["classes"],
    texts["prompts"],
    rows,
    labels,
    content=files.digest([labels.tolist(), sizes]),
    stamp=files.digest([address, sizes, rows.times()]),
  )


def check_address(address: str, field: str = "config.imagenet") -> None:
  """Raises InputError unless an address is one that `open_source` knows; opens nothing."""
  kind, colon, _ = address.partition(":")
  if not colon or kind not in _SOURCES:
    raise InputError(
      f"{field}: {address!r} is not an ImageNet source; it must be "
      "imagefolder:DIR, webdataset:DIR, tfds:DATA_DIR or tfds:, or be empty."
    )


@functools.cache
def class_texts() -> Mapping[str, tuple[str, ...]]:
  """{"wnids", "classes", "prompts"}: WordNet ids and names in the order of the labels, prompts."""
  source = importlib.resources.files("salmu_jax.data").joinpath("imagenet.json")
  return {k: tuple(v) for k, v in json.loads(source.read_text(encoding="utf-8")).items()}


def _name(kind, labels):
  counts = np.bincount(labels, minlength=len(class_texts()["wnids"]))
  whole = bool(np.all(counts == _PICTURES_A_CLASS))
  title = "ImageNet-1k validation" if whole else "part of ImageNet-1k, not its validation set"
  return f"{title} ({kind}): {len(labels):,} pictures of {np.count_nonzero(counts):,} classes"


class _Place(NamedTuple):
  """The place of a picture's bytes: a file, or a member of a tar file."""

  file: str
  member: str = ""
  offset: int = 0
  size: int = -1  # to the end of the file

  def __str__(self):
    return f"{self.file}: {self.member}" if self.member else self.file


class _Files:
  """Rows read from their places, each by its own file handle, so that threads do not interfere."""

  def __init__(self, places, field):
    self._places, self._field = places, field

  def __len__(self):
    return len(self._places)

  def sizes(self):
    """Bytes of each image; raises InputError for an empty one."""
    return [self._size(place) for place in self._places]

  def times(self):
    """When each file was last changed, in nanoseconds."""
    return [os.stat(file).st_mtime_ns for file in sorted({place.file for place in self._places})]

  def _size(self, place):
    try:
      size = place.size if place.size >= 0 else os.path.getsize(place.file)
    except OSError as error:
      raise _unreadable(self._field, place, error) from error
    if not size:
      raise InputError(f"{self._field}: {place} is empty. Restore the image from its source.")
    return size

  def __getitem__(self, index):
    place = self._places[index]
    try:
      with open(place.file, "rb") as file:
        file.seek(place.offset)
        return {"image": file.read(place.size), "file_name": str(place)}
    except OSError as error:
      raise _unreadable(self._field, place, error) from error


class _Records:
  """Rows of a TFDS data source, their pictures encoded."""

  def __init__(self, source, folder, field):
    self._source, self._folder, self._field = source, folder, field

  def __len__(self):
    return len(self._source)

  def sizes(self):
    """Bytes of all records together: the size of one image is unknown until it is read."""
    return [sum(file.stat().st_size for file in self._files())]

  def times(self):
    """When each file was last changed, in nanoseconds."""
    return [file.stat().st_mtime_ns for file in self._files()]

  def _files(self):
    return sorted(self._folder.glob("*validation*"))

  def __getitem__(self, index):
    with _reading_records(self._folder, self._field):
      row = self._source[index]
    return {"image": row["image"], "file_name": f"{self._folder}: {row['file_name'].decode()}"}


def _image_folder(place, field):
  """Pictures in the order of WordNet ids, then of file names."""
  root = _directory(place, "imagefolder", field)
  if (root / "val").is_dir():
    root = root / "val"
  folders = [entry for entry in _visible(root, field) if entry.is_dir()]
  if not folders:
    raise InputError(
      f"{field}: {root} has no class folders; it must have a folder of images for each class, "
      "named by WordNet id (n01440764, ...)."
    )
  label_of = {wnid: label for label, wnid in enumerate(class_texts()["wnids"])}
  places, labels = [], []
  for folder in folders:
    if folder.name not in label_of:
      raise InputError(
        f"{field}: the folder {folder.path} is not named by a WordNet id of ImageNet-1k "
        "(n01440764, ...); each folder must hold the images of one class and be named by its id."
      )
    pictures = [
      _Place(file.path) for file in _visible(folder.path, field) if _is_picture(file.name)
    ]
    if not pictures:
      raise InputError(
        f"{field}: the folder {folder.path} holds no images (.{', .'.join(_ENDINGS)}). Restore "
        "them, or remove the folder."
      )
    places += pictures
    labels += [label_of[folder.name]] * len(pictures)
  return _Files(places, field), labels


def _web_dataset(place, field):
  """Images in the order of the tar files and of their members; each tar is indexed once."""
  root = _directory(place, "webdataset", field)
  tars = sorted(root.glob("*.tar"), key=_natural)
  if not tars:
    root = root / "test"
    tars = sorted(root.glob("*.tar"), key=_natural)
  if not tars:
    raise InputError(f"{field}: there are no .tar files in {root.parent}, nor in its folder test/.")
  _check_count(tars, root / "nshards.txt", field)
  samples = []
  with progress.counting("indexing ImageNet's tar files", len(tars)) as tick:
    for tar in tars:
      samples += _samples(tar, field)
      tick()
  if not samples:
    raise InputError(f"{field}: the {len(tars)} .tar files in {root} hold no images.")
  places, labels = zip(*samples, strict=True)
  return _Files(places, field), labels


def _check_count(tars, note, field):
  """Checks the number of tar files against CLIP_benchmark's nshards.txt."""
  if not note.exists():
    return
  if not note.is_file():
    raise InputError(f"{field}: {note} is not a file. Restore it, or delete it.")
  count = note.read_bytes()
  if not _NUMBER.fullmatch(count) or int(count) != len(tars):
    raise InputError(
      f"{field}: {note} gives {count.decode(errors='replace').strip()} as the number of tar files, "
      f"but {len(tars)} are there. Restore the missing files."
    )


def _samples(tar, field):
  """[(place, label)] of the pictures of a tar file, in the order of the file."""
  pictures, labels = {}, {}
  with _reading_tar(tar, field) as archive:
    for member in archive:
      name = _MEMBER.fullmatch(member.name)
      ending = name["ending"].lower() if name and member.isfile() else ""
      if ending in _ENDINGS:
        if name["key"] in pictures:
          raise InputError(f"{field}: {tar} holds two images with the key {name['key']!r}.")
        place = _Place(str(tar), member.name, member.offset_data, member.size)
        pictures[name["key"]] = place
      elif ending == "cls":
        label = _label(archive.extractfile(member).read(), member.name, tar, field)
        if labels.setdefault(name["key"], label) != label:
          raise InputError(f"{field}: {tar} holds two labels with the key {name['key']!r}.")
  for key in pictures.keys() ^ labels.keys():
    part, missing = ("an image", ".cls") if key in pictures else (".cls", "an image")
    raise InputError(
      f"{field}: {tar} holds {part} with the key {key!r}, but {missing} with that key is missing; "
      f"every image (.{', .'.join(_ENDINGS)}) needs a .cls with its label. Restore the tar file."
    )
  return [(place, labels[key]) for key, place in pictures.items()]


@contextlib.contextmanager
def _reading_tar(tar, field):
  """Yields the opened tar file; afterwards checks that it was read to its end mark."""
  try:
    with tarfile.open(tar, "r:") as archive:
      yield archive
      # tarfile mistakes a damaged header, or a cut between two members, for the end.
      archive.fileobj.seek(archive.offset)
      if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no end mark")
  except (tarfile.TarError, OSError) as error:
    raise InputError(
      f"{field}: {tar} is truncated, damaged or not an uncompressed tar file ({error}). Restore it "
      "from its source."
    ) from error


def _label(content, member, tar, field):
  classes = len(class_texts()["wnids"])
  if not _NUMBER.fullmatch(content) or int(content) >= classes:
    raise InputError(
      f"{field}: {member} in {tar} holds {content[:20]!r}; it must hold the label of its image, "
      f"an integer from 0 to {classes - 1}."
    )
  return int(content)


def _tfds(place, field):
  """Rows of the validation split, in the order of the records."""
  data_dir = os.path.expanduser(place or os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"))
  folder = _newest_version(pathlib.Path(data_dir), field)
  try:
    builder = tfds.builder_from_directory(folder)
  except Exception as error:  # TFDS reads files that may hold anything, and checks few of them.
    raise InputError(
      f"{field}: {folder} is not a complete TFDS dataset ({error}). "
      f"{_BUILD.format(data_dir='ANOTHER_DIR')}."
    ) from error
  _check_builder(builder, folder, field)
  skip = {"image": tfds.decode.SkipDecoding()}
  with _reading_records(folder, field):
    source = builder.as_data_source("validation", decoders=skip)
  return _Records(source, folder, field), _record_labels(source, folder, field)


def _newest_version(data_dir, field):
  folder = data_dir / "imagenet2012"
  names = os.listdir(folder) if os.path.isdir(folder) else []
  versions = [folder / name for name in names if re.fullmatch(r"\d+\.\d+\.\d+", name)]
  if not versions:
    raise InputError(
      f"{field}: there is no version of imagenet2012 in the local directory {data_dir}. "
      f"{_BUILD.format(data_dir=data_dir)}."
    )
  return max(versions, key=_natural)


def _check_builder(builder, folder, field):
  """Raises InputError unless it is ImageNet's validation split, with our labels, as ArrayRecord."""
  splits = builder.info.splits
  formats = {file_format.value for file_format in builder.info.available_file_formats()}
  if "validation" not in splits:
    raise InputError(
      f"{field}: {folder} has no split 'validation'; it has {', '.join(sorted(splits)) or 'none'}. "
      f"{_BUILD.format(data_dir='ANOTHER_DIR')}."
    )
  if "array_record" not in formats:
    raise InputError(
      f"{field}: {folder} is prepared as {', '.join(sorted(formats))}, which has no random access. "
      f"{_BUILD.format(data_dir='ANOTHER_DIR')}. TFDS does not prepare a dataset twice, so choose "
      "another directory, and name it here."
    )
  features = builder.info.features
  absent = [name for name in ("image", "label", "file_name") if name not in features]
  wnids = class_texts()["wnids"]
  if absent or tuple(getattr(features["label"], "names", None) or ()) != wnids:
    raise InputError(
      f"{field}: {folder} is not ImageNet-1k: "
      + (f"its rows have no {absent[0]!r}." if absent else "its labels are not the WordNet ids.")
    )


def _record_labels(source, folder, field):
  """(N,) labels; reads all rows once, which takes about as long as copying the files."""
  labels, block = [], 256
  with progress.counting("reading ImageNet's labels", len(source)) as tick:
    for start in range(0, len(source), block):
      with _reading_records(folder, field):
        rows = source.__getitems__(list(range(start, min(start + block, len(source)))))
      labels += [int(row["label"]) for row in rows]
      tick(len(rows))
  classes = len(class_texts()["wnids"])
  for row, label in enumerate(labels):
    if not 0 <= label < classes:
      raise InputError(f"{field}: row {row} of {folder} has the label {label}, not a class.")
  return labels


@contextlib.contextmanager
def _reading_records(folder, field):
  """Turns a read error of TFDS or ArrayRecord into an InputError that names the records."""
  try:
    yield
  except (OSError, RuntimeError, ValueError, IndexError) as error:
    raise _unreadable(field, folder, error) from error


def _unreadable(field, path, error):
  return InputError(f"{field}: {path} cannot be read ({error}). Restore it from its source.")


def _directory(place, kind, field):
  root = pathlib.Path(os.path.expanduser(place))
  if not place or not os.path.isdir(root):
    raise InputError(
      f"{field}: {kind}:{place} is not a directory on this machine; it must be {kind}:DIR."
    )
  return root


def _visible(folder, field):
  """Entries of a folder that are not hidden, in the order of their names."""
  try:
    with os.scandir(folder) as entries:
      return sorted((e for e in entries if e.name[0] != "."), key=lambda entry: entry.name)
  except OSError as error:
    raise _unreadable(field, folder, error) from error


def _is_picture(name):
  return pathlib.PurePath(name).suffix[1:].lower() in _ENDINGS


def _natural(path):
  """A sort key that puts 2.tar before 10.tar."""
  return [
    (int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)
  ]


_SOURCES = {"imagefolder": _image_folder, "webdataset": _web_dataset, "tfds": _tfds}
