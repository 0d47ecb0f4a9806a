"""A copy of ImageNet that is misnamed, incomplete or damaged is refused, and the file is named."""

import re
import shutil
import tarfile

import pytest
from imagenets import (
  PICTURES,
  WNIDS,
  WRITERS,
  names,
  refusal,
  write_folders,
  write_tar,
  write_tars,
  write_tfds,
)

from salmu_jax.data import imagenet, pictures, pipeline, texts
from salmu_jax.errors import InputError


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
  assert f"{root}/n01443537 holds no images" in refusal(f"imagefolder:{root}")


def test_pictures_that_are_not_in_folders_are_refused(tmp_path):
  (tmp_path / names()[0]).write_bytes(PICTURES[0])
  assert "a folder of images for each class, named by Wo" in refusal(f"imagefolder:{tmp_path}")


@pytest.mark.parametrize(
  "label", [b"", b"tench", b"-1", b"1000", b"1.0", b"1_0", "\u0661".encode(), b"7" * 5000]
)
def test_a_label_that_is_no_class_is_named_with_its_tar_file(tmp_path, label):
  write_tar(tmp_path / "0.tar", [("s0.jpg", b"1"), ("s0.cls", b"5")])
  write_tar(tmp_path / "1.tar", [("s2.jpg", b"1"), ("s2.cls", label)])
  message = refusal(f"webdataset:{tmp_path}")
  assert f"s2.cls in {tmp_path}/1.tar holds" in message and "from 0 to 999" in message


@pytest.mark.parametrize(
  ("members", "message"),
  [
    ([("s1.jpg", b"2")], "holds an image with the key 's1', but .cls"),
    ([("s1.cls", b"2")], "holds .cls with the key 's1', but an image"),
    ([("s1.bmp", b"2"), ("s1.cls", b"2")], "holds .cls with the key 's1', but an image"),
    ([("s0.png", b"2")], "two images with the key 's0'"),
  ],
)
def test_a_picture_and_its_label_come_in_pairs(tmp_path, members, message):
  write_tar(tmp_path / "0.tar", [("s0.jpg", b"1"), ("s0.cls", b"5"), *members])
  assert f"{tmp_path}/0.tar {message}" in refusal(f"webdataset:{tmp_path}").replace(
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
  assert f"the 1 .tar files in {tmp_path} hold no images" in refusal(f"webdataset:{tmp_path}")
  (tmp_path / "0.tar").unlink()
  shutil.copytree(copies["webdataset"], tmp_path, dirs_exist_ok=True)
  (tmp_path / "test" / "3.tar").unlink()
  message = refusal(f"webdataset:{tmp_path}")
  assert f"{tmp_path}/test/nshards.txt gives 11 as the number of tar files, but 10" in message


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
  write_tfds(tmp_path / "other", labels=imagenet.class_texts()["wnids"][::-1])
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


def test_a_link_that_leads_nowhere_is_named(copies, tmp_path):
  folder = tmp_path / "copy"
  shutil.copytree(copies["imagefolder"], folder)
  picture = next(path for path in sorted(folder.rglob("*")) if path.is_file())
  picture.with_name("link.jpg").symlink_to(tmp_path / "nowhere")
  assert "link.jpg cannot be read" in refusal(f"imagefolder:{folder}")


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("place", ["~nobody_of_that_name/x", "a" * 5000, "a\0b", "/dev/null"])
def test_a_directory_that_no_disk_can_have_is_refused(kind, place):
  assert "directory" in refusal(f"{kind}:{place}")


def test_an_empty_picture_is_named_when_the_source_is_opened(tmp_path):
  root = write_folders(tmp_path / "folders")
  (root / WNIDS[1] / names()[5]).write_bytes(b"")
  assert f"{root / WNIDS[1] / names()[5]} is empty" in refusal(f"imagefolder:{root}")
  write_tar(tmp_path / "0.tar", [("s0.jpg", b""), ("s0.cls", b"5")])
  assert f"{tmp_path}/0.tar: s0.jpg is empty" in refusal(f"webdataset:{tmp_path}")


def test_two_labels_of_one_picture_are_refused(tmp_path):
  write_tar(tmp_path / "0.tar", [("s0.jpg", b"1"), ("s0.cls", b"5"), ("s0.cls", b"6")])
  assert "holds two labels with the key 's0'" in refusal(f"webdataset:{tmp_path}")


def test_a_note_of_the_number_of_tar_files_that_cannot_be_read_is_named(tmp_path):
  note = write_tars(tmp_path) / "test" / "nshards.txt"
  note.write_bytes(b"\xff")
  assert "as the number of tar files" in refusal(f"webdataset:{tmp_path}")
  note.unlink()
  note.mkdir()
  assert f"{note} is not a file" in refusal(f"webdataset:{tmp_path}")


@pytest.mark.parametrize("name", ["dataset_info.json", "features.json"])
@pytest.mark.parametrize("content", [b"", b"null", b"3", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_tfds_data_whose_index_is_something_else_is_named(copies, tmp_path, name, content):
  shutil.copytree(copies["tfds"], tmp_path, dirs_exist_ok=True)
  (tmp_path / "imagenet2012" / "5.1.0" / name).write_bytes(content)
  assert "5.1.0 is not a complete TFDS dataset" in refusal(f"tfds:{tmp_path}")


def test_names_and_prompts_are_as_a_release_must_have_them_but_for_two_names():
  given = imagenet.class_texts()
  assert all(map(texts.takes_a_name, given["prompts"])) and all(
    map(texts.is_filled, given["classes"])
  )
  assert len(given["classes"]) - len(set(given["classes"])) == 2


def test_a_broken_picture_is_named_before_training_where_pictures_are_stored(tmp_path):
  root = write_folders(tmp_path / "folders")
  broken = root / WNIDS[1] / names()[5]
  broken.write_bytes(b"version https://git-lfs.github.com/spec/v1")
  source = imagenet.open_source(f"imagefolder:{root}")
  wanted = {"imagenet": pictures.Wanted(source.rows, dict, source.stamp)}
  with pytest.raises(InputError, match=re.escape(f"The image of '{broken}' cannot be decoded")):
    pictures.stored(tmp_path / "stored", wanted, size=16, most_bytes=1e9)
