"""Three layouts of one made-up ImageNet give the same rows, and accuracy by brute force."""

import concurrent.futures
import contextlib
import functools
import importlib.util
import io
import pathlib
import re
import shutil
import tarfile

import jax
import numpy as np
import pytest
import tensorflow_datasets as tfds
from handmade import jpeg
from little import MODEL, PARAMS
from PIL import Image

from salmu_jax.data import imagenet, images, pipeline
from salmu_jax.errors import InputError
from salmu_jax.evaluate import metrics
from salmu_jax.models.clip import CLIP

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
  """As CLIP_benchmark writes them: test/0.tar, ..., members sNNNNNNN.cls and .webp."""
  for shard, rows in enumerate(np.array_split(np.arange(12), 11)):
    members = []
    for i in rows:
      label = str(LABELS[i]).encode()
      members += [(f"s{i:07d}.cls", label), (f"s{i:07d}.webp", PICTURES[i])]
    write_tar(root / "test" / f"{shard}.tar", members)
  (root / "test" / "nshards.txt").write_text("11\n")
  return root


class Imagenet2012(tfds.core.GeneratorBasedBuilder):
  """TFDS's imagenet2012 in small: the same features, shuffled by a hash of the keys."""

  VERSION = tfds.core.Version("5.1.0")

  def __init__(self, labels=None, split="validation", **kwargs):
    self._names = list(labels or imagenet.facts()["wnids"])
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


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
  """{kind: directory} of the same pictures; tests that change one take a copy."""
  return {kind: write(tmp_path_factory.mktemp(kind)) for kind, write in WRITERS.items()}


def opened(copies, kind):
  return imagenet.open_source(f"{kind}:{copies[kind]}")


def content(source):
  return [(source.rows[i]["image"], int(source.labels[i])) for i in range(len(source.rows))]


def refusal(address):
  with pytest.raises(InputError, match=r"^config\.imagenet: ") as caught:
    imagenet.open_source(address)
  return str(caught.value)


def test_a_thousand_ids_in_their_order_stand_beside_a_thousand_names_and_eighty_prompts():
  wnids, classes, prompts = (imagenet.facts()[k] for k in ("wnids", "classes", "prompts"))
  theirs = tfds.core.tfds_path("datasets/imagenet2012/labels.txt").read_text().split()
  assert list(wnids) == theirs == sorted(set(theirs)) and len(wnids) == 1000
  assert len(classes) == 1000 and len(set(prompts)) == len(prompts) == 80
  assert all(prompt.count("{}") == prompt.count("{") == 1 for prompt in prompts)
  assert all(name == name.strip() and name for name in classes)
  known = {
    "n01440764": "tench",
    "n02012849": "crane bird",
    "n02085620": "Chihuahua",
    "n02510455": "giant panda",
    "n03126707": "construction crane",
    "n03804744": "metal nail",
    "n15075141": "toilet paper",
  }
  assert {wnid: classes[wnids.index(wnid)] for wnid in known} == known


def test_two_names_stand_for_two_classes_each_as_in_the_original():
  classes = imagenet.facts()["classes"]
  twice = {name: [i for i, c in enumerate(classes) if c == name] for name in classes}
  twice = {name: where for name, where in twice.items() if len(where) > 1}
  assert twice == {"missile": [657, 744], "sunglasses": [836, 837]}


@pytest.mark.torch
def test_names_and_prompts_are_those_that_open_clip_evaluates_with():
  package = pathlib.Path(importlib.util.find_spec("open_clip").origin).parent
  spec = importlib.util.spec_from_file_location("theirs", package / "zero_shot_metadata.py")
  theirs = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(theirs)
  assert imagenet.facts()["classes"] == tuple(theirs.IMAGENET_CLASSNAMES)
  prompts = tuple(template("{}") for template in theirs.OPENAI_IMAGENET_TEMPLATES)
  assert imagenet.facts()["prompts"] == prompts


def test_folders_and_tar_files_give_all_pictures_in_their_order_with_their_labels(copies):
  expected = list(zip(PICTURES, LABELS.tolist(), strict=True))
  for kind in ("imagefolder", "webdataset"):
    source = opened(copies, kind)
    assert content(source) == expected
    assert source.labels.dtype == np.int32
    assert source.classes == imagenet.facts()["classes"]
    assert source.prompts == imagenet.facts()["prompts"]


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
  for wnid in imagenet.facts()["wnids"]:
    (tmp_path / wnid).mkdir()
    for i in range(2 - missing * (wnid == WNIDS[1])):
      (tmp_path / wnid / f"{i}.JPEG").touch()
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
  """Any tokens will do that differ from text to text: 18 starts, 19 ends."""
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


def test_a_link_that_leads_nowhere_is_named(copies, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(copies["imagefolder"], folder)
  picture = next(path for path in sorted(folder.rglob("*")) if path.is_file())
  picture.with_name("link.jpg").symlink_to(tmp_path / "nowhere")
  assert "link.jpg cannot be read" in refusal(f"imagefolder:{folder}")


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
  assert "5.10.0 is not a whole TFDS dataset" in refusal(f"tfds:{tmp_path}")


@pytest.mark.parametrize("address", ["imagenet", "/data/imagenet", "folder:/data", "Tfds:", ":"])
def test_an_address_that_names_no_source_is_answered_with_those_there_are(address):
  message = refusal(address)
  assert repr(address) in message and "imagefolder:DIR, webdataset:DIR, tfds:DATA_DIR" in message


@pytest.mark.parametrize("kind", WRITERS)
def test_a_directory_that_is_missing_or_empty_is_named(tmp_path, kind):
  for where in (tmp_path, tmp_path / "absent"):
    assert str(where) in refusal(f"{kind}:{where}")


@pytest.mark.parametrize("kind", ["imagefolder", "webdataset"])
def test_an_address_needs_its_directory(kind):
  assert f"must be {kind}:DIR" in refusal(f"{kind}:")


def test_another_name_for_the_field_is_used_in_errors(tmp_path):
  with pytest.raises(InputError, match=r"^config\.other: "):
    imagenet.open_source(f"imagefolder:{tmp_path}", "config.other")


def test_folders_must_have_ids_as_names_and_hold_pictures(tmp_path):
  root = write_folders(tmp_path)
  (root / WNIDS[2]).rename(root / "n99999999")
  assert f"{root}/n99999999 is not named by a WordNet id" in refusal(f"imagefolder:{root}")
  (root / "n99999999").rename(root / WNIDS[2])
  (root / "n01443537").mkdir()
  (root / "n01443537" / "notes.txt").touch()
  assert f"{root}/n01443537 holds no pictures" in refusal(f"imagefolder:{root}")


def test_pictures_that_are_not_in_folders_are_refused(tmp_path):
  (tmp_path / names()[0]).write_bytes(PICTURES[0])
  assert "one for each class, named by its WordNet id" in refusal(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize(
  "label", [b"", b"tench", b"-1", b"1000", b"1.0", b"1_0", "\u0661".encode(), b"7" * 5000]
)
def test_a_label_that_is_no_class_is_named_with_its_tar_file(tmp_path, label):
  write_tar(tmp_path / "0.tar", [("s0.jpg", b"1"), ("s0.cls", b"5")])
  write_tar(tmp_path / "1.tar", [("s2.jpg", b"1"), ("s2.cls", label)])
  message = refusal(f"webdataset:{tmp_path}")
  assert f"s2.cls in {tmp_path}/1.tar holds" in message and "from 0 to 999" in message


@pytest.mark.parametrize(
  ("members", "found"),
  [
    ([("s1.jpg", b"2")], "holds a picture with the key 's1', but .cls"),
    ([("s1.cls", b"2")], "holds .cls with the key 's1', but a picture"),
    ([("s1.bmp", b"2"), ("s1.cls", b"2")], "holds .cls with the key 's1', but a picture"),
    ([("s0.png", b"2")], "two pictures with the key 's0'"),
  ],
)
def test_a_picture_and_its_label_come_in_pairs(tmp_path, members, found):
  write_tar(tmp_path / "0.tar", [("s0.jpg", b"1"), ("s0.cls", b"5"), *members])
  assert f"{tmp_path}/0.tar {found}" in refusal(f"webdataset:{tmp_path}").replace(
    "holds two", "two"
  )


def member_starts(tar):
  with tarfile.open(tar) as archive:
    return [member.offset for member in archive]


def test_a_tar_file_cut_anywhere_is_found(copies, tmp_path):
  tar = tmp_path / "0.tar"
  whole = (copies["webdataset"] / "test" / "0.tar").read_bytes()
  tar.write_bytes(whole)
  imagenet.open_source(f"webdataset:{tmp_path}")
  starts = member_starts(tar)
  assert len(starts) == 4
  end = len(whole.rstrip(b"\0")) // 512 * 512 + 512
  for size in (0, 100, *starts[1:], starts[2] + 100, starts[2] + 512, end - 600, end, end + 100):
    tar.write_bytes(whole[:size])
    assert f"{tar} is truncated, damaged" in refusal(f"webdataset:{tmp_path}"), size


def test_a_damaged_header_and_a_compressed_tar_file_are_found(copies, tmp_path):
  tar = tmp_path / "0.tar"
  whole = (copies["webdataset"] / "test" / "0.tar").read_bytes()
  tar.write_bytes(whole)
  third = member_starts(tar)[2]
  tar.write_bytes(whole[:third] + b"x" * 512 + whole[third + 512 :])
  assert f"{tar} is truncated, damaged" in refusal(f"webdataset:{tmp_path}")
  with tarfile.open(tar, "w:gz"):
    pass
  assert f"{tar} is truncated, damaged or not an uncompressed tar" in refusal(
    f"webdataset:{tmp_path}"
  )


def test_tar_files_without_pictures_or_fewer_than_noted_are_found(copies, tmp_path):
  write_tar(tmp_path / "0.tar", [("readme.txt", b"")])
  assert f"the 1 .tar files in {tmp_path} hold no pictures" in refusal(f"webdataset:{tmp_path}")
  (tmp_path / "0.tar").unlink()
  shutil.copytree(copies["webdataset"], tmp_path, dirs_exist_ok=True)
  (tmp_path / "test" / "3.tar").unlink()
  message = refusal(f"webdataset:{tmp_path}")
  assert f"{tmp_path}/test/nshards.txt says that there are 11 tar files, but 10" in message


def test_tfds_data_that_cannot_be_read_by_row_says_how_to_prepare_it(copies, tmp_path):
  shutil.copytree(copies["tfds"], tmp_path, dirs_exist_ok=True)
  info = tmp_path / "imagenet2012" / "5.1.0" / "dataset_info.json"
  info.write_text(info.read_text().replace("array_record", "tfrecord"))
  message = refusal(f"tfds:{tmp_path}")
  assert "is prepared as tfrecord" in message
  assert "tfds build imagenet2012 --file_format=array_record" in message
  assert "tfds build imagenet2012" in refusal(f"tfds:{tmp_path}/absent")


def test_tfds_data_needs_the_validation_split_and_imagenets_labels(tmp_path):
  write_tfds(tmp_path / "train", split="train")
  message = refusal(f"tfds:{tmp_path}/train")
  assert "5.1.0 has no split 'validation'; it has train" in message
  write_tfds(tmp_path / "other", labels=imagenet.facts()["wnids"][::-1])
  assert "its labels are not the WordNet ids" in refusal(f"tfds:{tmp_path}/other")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json", "*.array_record-*"])
@pytest.mark.parametrize("size", [None, 64])
def test_tfds_data_with_a_missing_or_cut_file_is_named(copies, tmp_path, name, size):
  shutil.copytree(copies["tfds"], tmp_path, dirs_exist_ok=True)
  (file,) = (tmp_path / "imagenet2012" / "5.1.0").glob(name)
  whole = file.read_bytes()
  file.unlink()
  if size:
    file.write_bytes(whole[:size])
  assert f"{tmp_path}/imagenet2012/5.1.0" in refusal(f"tfds:{tmp_path}")


def test_a_corrupt_picture_is_named_when_it_is_read(tmp_path):
  tar = write_tars(tmp_path) / "test" / "10.tar"
  write_tar(tar, [("s11.webp", PICTURES[11][:300]), ("s11.cls", b"999")])
  source = imagenet.open_source(f"webdataset:{tmp_path}")
  with pytest.raises(InputError, match=re.escape(f"{tar}: s11.webp")):
    list(pipeline.evaluation_images(source.rows, image_size=16, batch_size=4, threads=2))


def test_a_picture_that_is_gone_is_named_when_it_is_read(tmp_path):
  source = imagenet.open_source(f"imagefolder:{write_folders(tmp_path)}")
  gone = tmp_path / WNIDS[1] / names()[5]
  gone.unlink()
  with pytest.raises(InputError, match=re.escape(f"config.imagenet: {gone} cannot be read")):
    list(pipeline.evaluation_images(source.rows, image_size=16, batch_size=4, threads=2))
