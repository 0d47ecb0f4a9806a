"""A made-up ImageNet in the three supported layouts: folders, tar files and TFDS."""

import contextlib
import io
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from handmade import jpeg

from salmu_jax.data import imagenet
from salmu_jax.errors import InputError

# Labels 0, 151 and 999.
WNIDS = ("n01440764", "n02085620", "n15075141")
LABELS = np.repeat([0, 151, 999], 4)
# Sizes differ, so that cropping matters.
PICTURES = [jpeg(i, (16 + 3 * i, 40 - 2 * i)) for i in range(12)]


def names():
  return [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(12)]


def write_folders(root):
  for i, (name, picture) in enumerate(zip(names(), PICTURES, strict=True)):
    folder = root / WNIDS[i // 4]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(picture)
  return root


def write_tar(path, members):
  path.parent.mkdir(parents=True, exist_ok=True)
  with tarfile.open(path, "w") as archive:
    for name, content in members:
      member = tarfile.TarInfo(name)
      member.size = len(content)
      archive.addfile(member, io.BytesIO(content))


def write_tars(root):
  """CLIP_benchmark's layout: test/0.tar, ..., with members sNNNNNNN.cls and .webp."""
  for shard, rows in enumerate(np.array_split(np.arange(12), 11)):
    members = []
    for i in rows:
      label = str(LABELS[i]).encode()
      members += [(f"s{i:07d}.cls", label), (f"s{i:07d}.webp", PICTURES[i])]
    write_tar(root / "test" / f"{shard}.tar", members)
  (root / "test" / "nshards.txt").write_text("11\n")
  return root


class Imagenet2012(tfds.core.GeneratorBasedBuilder):
  """A small copy of TFDS's imagenet2012: its features, shuffled by a hash of the keys."""

  VERSION = tfds.core.Version("5.1.0")

  def __init__(self, labels=None, split="validation", **kwargs):
    self._names = list(labels or imagenet.class_texts()["wnids"])
    self._split = split
    super().__init__(**kwargs)

  def _info(self):
    features = {
      "image": tfds.features.Image(encoding_format="jpeg"),
      "label": tfds.features.ClassLabel(names=self._names),
      "file_name": tfds.features.Text(),
    }
    return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

  def _split_generators(self, dl_manager):
    return {self._split: self._generate_examples()}

  def _generate_examples(self):
    for name, picture, label in zip(names(), PICTURES, LABELS, strict=True):
      label = int(label) % len(self._names)
      yield name, {"image": picture, "label": label, "file_name": name}


def write_tfds(root, **kwargs):
  tfds.disable_progress_bar()
  with contextlib.redirect_stdout(io.StringIO()):
    Imagenet2012(data_dir=str(root), file_format="array_record", **kwargs).download_and_prepare()
  return root


WRITERS = {"imagefolder": write_folders, "webdataset": write_tars, "tfds": write_tfds}


def write_all(tmp_path_factory):
  """{kind: directory} of the same pictures; a test that changes one takes a copy."""
  return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


def opened(copies, kind):
  return imagenet.open_source(f"{kind}:{copies[kind]}")


def content(source):
  return [(source.rows[i]["image"], int(source.labels[i])) for i in range(len(source.rows))]


def refusal(address):
  with pytest.raises(InputError, match=r"^config\.imagenet: ") as caught:
    imagenet.open_source(address)
  return str(caught.value)
