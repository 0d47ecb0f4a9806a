"""Three layouts of one made-up ImageNet give the same rows, and accuracy by brute force."""

import concurrent.futures
import functools
import importlib.util
import io
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from imagenets import (
  LABELS,
  PICTURES,
  WNIDS,
  WRITERS,
  content,
  names,
  opened,
  refusal,
  write_folders,
  write_tar,
)
from little import MODEL, PARAMS
from PIL import Image

from salmu_jax.data import imagenet, images, pipeline
from salmu_jax.evaluate import metrics
from salmu_jax.models.clip import CLIP


def test_a_thousand_ids_in_their_order_stand_beside_a_thousand_names_and_eighty_prompts():
  wnids, classes, prompts = (imagenet.class_texts()[k] for k in ("wnids", "classes", "prompts"))
  tfds_ids = tfds.core.tfds_path("datasets/imagenet2012/labels.txt").read_text().split()
  assert list(wnids) == tfds_ids == sorted(set(tfds_ids)) and len(wnids) == 1000
  assert len(classes) == 1000 and len(set(prompts)) == len(prompts) == 80
  assert all(prompt.count("{}") == prompt.count("{") == 1 for prompt in prompts)
  assert all(name == name.strip() and name for name in classes)
  examples = {
    "n01440764": "tench",
    "n02012849": "crane bird",
    "n02085620": "Chihuahua",
    "n02510455": "giant panda",
    "n03126707": "construction crane",
    "n03804744": "metal nail",
    "n15075141": "toilet paper",
  }
  assert {wnid: classes[wnids.index(wnid)] for wnid in examples} == examples


def test_two_names_stand_for_two_classes_each_as_in_the_original():
  classes = imagenet.class_texts()["classes"]
  twice = {name: [i for i, c in enumerate(classes) if c == name] for name in classes}
  twice = {name: labels for name, labels in twice.items() if len(labels) > 1}
  assert twice == {"missile": [657, 744], "sunglasses": [836, 837]}


@pytest.mark.torch
def test_names_and_prompts_are_those_that_open_clip_evaluates_with():
  package = pathlib.Path(importlib.util.find_spec("open_clip").origin).parent
  spec = importlib.util.spec_from_file_location("theirs", package / "zero_shot_metadata.py")
  open_clip = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(open_clip)
  assert imagenet.class_texts()["classes"] == tuple(open_clip.IMAGENET_CLASSNAMES)
  prompts = tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES)
  assert imagenet.class_texts()["prompts"] == prompts


def test_folders_and_tar_files_give_all_pictures_in_their_order_with_their_labels(copies):
  expected = list(zip(PICTURES, LABELS.tolist(), strict=True))
  for kind in ("imagefolder", "webdataset"):
    source = opened(copies, kind)
    assert content(source) == expected
    assert source.labels.dtype == np.int32
    assert source.classes == imagenet.class_texts()["classes"]
    assert source.prompts == imagenet.class_texts()["prompts"]


def test_tfds_gives_the_same_pictures_and_labels_in_its_own_order(copies):
  source = opened(copies, "tfds")
  assert sorted(content(source)) == sorted(zip(PICTURES, LABELS.tolist(), strict=True))
  for i in range(12):
    number = names().index(source.rows[i]["file_name"].split(": ")[1])
    assert source.rows[i]["image"] == PICTURES[number]


def test_tfds_without_a_directory_is_read_from_where_tfds_keeps_its_data(copies, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", str(copies["tfds"]))
  assert content(imagenet.open_source("tfds:")) == content(opened(copies, "tfds"))


@pytest.mark.parametrize("kind", WRITERS)
def test_a_part_of_imagenet_says_so_in_its_name(copies, kind):
  name = f"part of ImageNet-1k, not its validation set ({kind}): 12 pictures of 3 classes"
  assert opened(copies, kind).name == name


@pytest.mark.parametrize("missing", [0, 1])
def test_only_all_pictures_of_all_classes_are_called_the_validation_set(
  tmp_path, monkeypatch, missing
):
  monkeypatch.setattr(imagenet, "_PICTURES_A_CLASS", 2)
  for wnid in imagenet.class_texts()["wnids"]:
    (tmp_path / wnid).mkdir()
    for i in range(2 - missing * (wnid == WNIDS[1])):
      (tmp_path / wnid / f"{i}.JPEG").write_bytes(b"1")
  source = imagenet.open_source(f"imagefolder:{tmp_path}")
  whole = "ImageNet-1k validation (imagefolder): 2,000 pictures of 1,000 classes"
  assert (source.name == whole) == (not missing)
  assert source.labels.tolist() == sorted(source.labels.tolist())


def unit(rows):
  return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@functools.partial(jax.jit, static_argnums=0)
def encode(method, batch):
  return MODEL.apply({"params": PARAMS}, batch, method=method)


def tokens(texts):
  """Arbitrary tokens that differ from text to text; 18 starts a text, 19 ends it."""
  rows = [np.random.default_rng(list(text.encode())).integers(1, 18, 7) for text in texts]
  rows = np.array(rows, np.int32)
  rows[:, 0], rows[:, 5], rows[:, 6] = 18, 19, 0
  return rows


def cut(source):
  """A zero-shot set of the three classes that have pictures, and two prompts."""
  used = [0, 151, 999]
  labels = np.array([used.index(label) for label in source.labels], np.int32)
  classes = tuple(source.classes[label] for label in used)
  return source._replace(classes=classes, prompts=source.prompts[:2], labels=labels)


@pytest.mark.parametrize("kind", WRITERS)
def test_zero_shot_accuracy_equals_a_brute_force_over_the_pictures(copies, kind):
  source = cut(opened(copies, kind))
  texts = [p.format(c) for c in ("tench", "Chihuahua", "toilet paper") for p in source.prompts]
  assert texts[2:4] == ["a bad photo of a Chihuahua.", "a photo of many Chihuahua."]
  z_text = np.asarray(encode(CLIP.encode_text, tokens(texts)))
  batches = pipeline.evaluation_images(source.rows, image_size=16, batch_size=5, threads=3)
  z_image = np.concatenate(
    [encode(CLIP.encode_image, images.normalise(pixels))[mask] for pixels, mask in batches]
  )
  weights = metrics.class_weights(z_text.reshape(3, 2, -1))
  hits = np.asarray(metrics.zero_shot_hits(z_image, weights, source.labels))

  directions = unit(z_text.astype(np.float64).reshape(3, 2, -1).mean(1))
  mean, std = (np.reshape(x, (1, 1, 3)).astype(np.float32) for x in (images.MEAN, images.STD))
  pixels = []
  for picture in PICTURES:
    with Image.open(io.BytesIO(picture)) as image:
      pixels.append((images.resize_and_crop(image.convert("RGB"), 16) / 255 - mean) / std)
  z = np.asarray(encode(CLIP.encode_image, np.float32(pixels)), np.float64)
  nearest = [int(np.argmax([row @ direction for direction in directions])) for row in z]
  right = {p: n == i // 4 for i, (p, n) in enumerate(zip(PICTURES, nearest, strict=True))}
  assert 0 < sum(right.values()) < 12
  np.testing.assert_array_equal(hits, [right[source.rows[i]["image"]] for i in range(12)])


@pytest.mark.parametrize("kind", WRITERS)
def test_a_set_is_known_by_its_content_wherever_it_lies(copies, tmp_path, kind):
  here, elsewhere = copies[kind], tmp_path / "elsewhere"
  shutil.copytree(here, elsewhere)
  content = imagenet.open_source(f"{kind}:{here}").content
  assert imagenet.open_source(f"{kind}:{elsewhere}").content == content


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_was_written_again_gives_another_stamp_to_the_same_set(copies, tmp_path, kind):
  folder = shutil.copytree(copies[kind], tmp_path / "copy")
  before = imagenet.open_source(f"{kind}:{folder}")
  assert imagenet.open_source(f"{kind}:{folder}").stamp == before.stamp
  for path in folder.rglob("*"):
    os.utime(path, (0, 0))
  after = imagenet.open_source(f"{kind}:{folder}")
  assert after.content == before.content and after.stamp != before.stamp


def test_another_picture_or_one_more_makes_another_set(copies, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(copies["imagefolder"], folder)
  contents = [imagenet.open_source(f"imagefolder:{folder}").content]
  picture = next(path for path in sorted(folder.rglob("*")) if path.is_file())
  picture.write_bytes(picture.read_bytes() + b" ")
  contents.append(imagenet.open_source(f"imagefolder:{folder}").content)
  picture.with_name(f"more{picture.suffix}").write_bytes(picture.read_bytes())
  contents.append(imagenet.open_source(f"imagefolder:{folder}").content)
  assert len(set(contents)) == 3


@pytest.mark.parametrize("kind", WRITERS)
def test_many_threads_read_what_one_reads(copies, kind):
  source = opened(copies, kind)
  order = np.random.default_rng(0).integers(0, 12, 600)
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    together = list(pool.map(lambda i: source.rows[i], order))
  alone = [source.rows[i] for i in range(12)]
  assert together == [alone[i] for i in order]


def test_a_folder_val_is_read_and_hidden_and_other_files_are_not(tmp_path):
  root = write_folders(tmp_path / "val")
  (tmp_path / "train" / WNIDS[0]).mkdir(parents=True)
  (root / ".cache").mkdir()
  (root / "valprep.sh").touch()
  (root / WNIDS[1] / ".hidden.JPEG").touch()
  (root / WNIDS[1] / "Thumbs.db").touch()
  first = root / WNIDS[0] / names()[0]
  first.rename(first.with_suffix(".PNG"))
  source = imagenet.open_source(f"imagefolder:{tmp_path}")
  assert content(source) == list(zip(PICTURES, LABELS.tolist(), strict=True))
  assert source.rows[0]["file_name"] == str(first.with_suffix(".PNG"))


def test_tar_files_may_lie_in_the_directory_and_hold_other_members(tmp_path):
  write_tar(
    tmp_path / "part10.tar",
    [("./b/0.jpeg", b"3"), ("./b/0.cls", b"7\n"), ("./b/0.json", b"{}"), ("./b/._0.jpeg", b"")],
  )
  write_tar(
    tmp_path / "part9.tar",
    [
      ("a/1.x.JPG", b"not"),
      ("0.PNG", b"1"),
      ("0.cls", b"999"),
      ("a/0.cls", b"0"),
      ("a/0.jpg", b"2"),
    ],
  )
  source = imagenet.open_source(f"webdataset:{tmp_path}")
  assert content(source) == [(b"1", 999), (b"2", 0), (b"3", 7)]
  assert source.rows[2]["file_name"] == f"{tmp_path}/part10.tar: ./b/0.jpeg"


def test_the_newest_version_of_tfds_data_is_read(copies, tmp_path):
  shutil.copytree(copies["tfds"], tmp_path, dirs_exist_ok=True)
  for other in ("5.0.10", "10.0.0.incompleteA1", "downloads"):
    (tmp_path / "imagenet2012" / other).mkdir()
  assert len(imagenet.open_source(f"tfds:{tmp_path}").rows) == 12
  (tmp_path / "imagenet2012" / "5.10.0").mkdir()
  assert "5.10.0 is not a complete TFDS dataset" in refusal(f"tfds:{tmp_path}")
