"""Pairs by the million, in small: which are kept or skipped, why, and how training reads them."""

import contextlib
import io
import itertools
import json
import subprocess
import sys
import tarfile

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handmade import jpeg, write
from PIL import Image

from configs import smoke
from salmu_jax.benchmark import run, stages
from salmu_jax.data import beam_output, pairs, pipeline, records, samples
from salmu_jax.errors import InputError
from salmu_jax.generate import beam, generator
from salmu_jax.runtime import files, sharding


def members(number, *, text=True, image=None, about=None):
  """The parts of one sample, as img2dataset writes them."""
  key = f"{number:09d}"
  parts = {"jpg": jpeg(number, (60, 40)) if image is None else image}
  if text:
    parts["txt"] = f"caption {number}".encode()
  if about is not None:
    parts["json"] = json.dumps(about).encode()
  return [(f"{key}.{kind}", data) for kind, data in parts.items() if data]


def tar(path, samples):
  with tarfile.open(path, "w") as archive:
    for name, data in itertools.chain(*samples):
      info = tarfile.TarInfo(name)
      info.size = len(data)
      archive.addfile(info, io.BytesIO(data))
  return path


@pytest.fixture(scope="module")
def source(tmp_path_factory):
  """Two tars and a parquet file: 30 rows that are right, and one of each wrong kind."""
  folder = tmp_path_factory.mktemp("tars")
  tar(folder / "a.tar", [members(i) for i in range(12)])
  wrong = [
    members(100, text=False),
    members(101, image=b"no picture"),
    members(102, image=b""),
    members(103, text=False, about={"caption": "from the json"}),
    members(104, text=False, about=["no", "dict"]),
  ]
  tar(folder / "b.tar", [*(members(i) for i in range(12, 20)), *wrong])
  table = pa.table(
    {
      "key": [f"{i}" for i in range(20, 29)],
      "jpg": [jpeg(i) for i in range(20, 29)],
      "caption": [f"caption {i}" for i in range(20, 29)],
    }
  )
  pq.write_table(table, folder / "c.parquet")
  return folder


@pytest.fixture(scope="module")
def converted(source, tmp_path_factory):
  output = tmp_path_factory.mktemp("pairs")
  counts = pairs.convert([f"{source}/*"], output, image_size=32, max_skipped=0.2)
  return output, counts


def test_rows_are_kept_or_skipped_for_a_reason_and_counted(converted):
  output, counts = converted
  assert counts["kept"] == 30
  assert counts["skipped"] == {
    "without caption": 2,
    "whose image cannot be decoded": 1,
    "without image": 1,
  }
  assert json.loads((output / "counts.json").read_text()) == counts


def test_every_row_is_there_once_with_its_caption_and_no_larger_than_asked_for(converted):
  rows, _ = records.open_pairs(converted[0])
  texts = sorted(row["text"].decode() for row in rows)
  assert texts == sorted([*(f"caption {i}" for i in range(29)), "from the json"])
  sizes = {Image.open(io.BytesIO(row["image"])).size for row in rows}
  assert sizes == {(48, 32), (24, 24)}  # shrunk by the shorter side; as it was
  small = next(row for row in rows if row["text"] == b"caption 20")
  assert small["image"] == jpeg(20) and small["file_name"] == b"c.parquet/000000000_20"


def test_the_same_files_give_the_same_records_whatever_the_workers_and_the_digest_says_so(
  source, converted, tmp_path
):
  options = ["--direct_num_workers=2", "--direct_running_mode=multi_threading"]
  counts = pairs.convert(
    [f"{source}/{name}" for name in ("c.parquet", "b.tar", "a.tar")],
    tmp_path / "again", image_size=32, max_skipped=0.2, options=options,
  )  # fmt: skip
  assert counts == converted[1]
  listed = lambda folder: sorted(folder.rglob("*.array_record*"))
  first, second = (listed(folder) for folder in (converted[0], tmp_path / "again"))
  assert [files.sha256(f) for f in first] == [files.sha256(f) for f in second]
  changed = pairs.convert([f"{source}/a.tar"], tmp_path / "less", image_size=32)
  assert changed["digest"] != counts["digest"]


def test_more_unreadable_rows_than_allowed_are_an_error_that_says_why(source, tmp_path):
  with pytest.raises(InputError, match=r"4 of 34 rows.*max_skipped=0\.1.*2 without caption"):
    pairs.convert([f"{source}/*"], tmp_path, image_size=32, max_skipped=0.1)
  with pytest.raises(InputError, match="holds no pairs"):
    records.open_pairs(tmp_path)
  pairs.convert([f"{source}/*"], tmp_path, image_size=32, max_skipped=0.2)


def test_a_tar_that_is_cut_short_is_refused_or_read_to_where_it_breaks(tmp_path):
  whole = tar(tmp_path / "whole.tar", [members(i) for i in range(10)]).read_bytes()
  cut = tmp_path / "cut.tar"
  cut.write_bytes(whole[: len(whole) // 2])
  options = dict(image_size=0, max_skipped=0.5)
  message = r"Truncated or damaged: .*/cut\.tar, read to row [3-6] \(ReadError.*--allow_broken"
  with pytest.raises(InputError, match=message):
    pairs.convert([f"{tmp_path}/*.tar"], tmp_path / "out", **options)
  with pytest.raises(InputError, match="holds no pairs"):
    records.open_pairs(tmp_path / "out")
  counts = pairs.convert([str(cut)], tmp_path / "out", allow_broken=True, **options)
  assert 3 <= counts["kept"] < 10 and counts["skipped"] == {}
  assert [file.partition(",")[0] for file in counts["broken"]] == [str(cut)]


def test_a_damaged_header_is_no_end_and_is_said(tmp_path):
  data = bytearray(tar(tmp_path / "whole.tar", [members(i) for i in range(10)]).read_bytes())
  at = data.index(b"000000005.jpg")
  data[at + 5] ^= 0xFF
  (tmp_path / "damaged.tar").write_bytes(bytes(data))
  # Cut where a header would begin: the two blocks of zeros that end a tar are not there.
  (tmp_path / "short.tar").write_bytes(bytes(data[: data.index(b"000000003.jpg")]))
  for name, kept in (("damaged", 4), ("short", 2)):
    read = list(samples.read_file(f"{tmp_path}/{name}.tar"))
    assert len(read) - 1 in (kept, kept + 1)
    assert f"{name}.tar, read to row {len(read) - 1} (BrokenHeader" in read[-1][1]


def test_a_damaged_page_of_parquet_is_said(tmp_path):
  numbers = range(200)
  table = pa.table({"jpg": [jpeg(i) for i in numbers], "caption": [f"c {i}" for i in numbers]})
  path = tmp_path / "p.parquet"
  pq.write_table(table, path, compression="snappy", row_group_size=64)
  data = bytearray(path.read_bytes())
  middle = len(data) // 2
  data[middle : middle + 4000] = bytes(4000)
  path.write_bytes(bytes(data))
  with pytest.raises(InputError, match=r"Truncated or damaged: .*/p\.parquet, read to row"):
    pairs.convert([str(path)], tmp_path / "out", image_size=0, max_skipped=0.9)
  *rows, (_, reason) = samples.read_file(str(path))
  assert 0 < len(rows) < 200 and reason.startswith(samples.BROKEN)


@pytest.mark.parametrize(
  "names, message",
  [
    (["nothing*.tar"], "No file matches"),
    (["x.zip"], "neither a .tar nor a .parquet"),
    (["a.tar", "sub/a.tar"], "have the same file name"),
  ],
)
def test_files_that_cannot_be_told_apart_or_read_are_refused(names, message, tmp_path):
  (tmp_path / "sub").mkdir()
  for name in ("x.zip", "a.tar", "sub/a.tar"):
    (tmp_path / name).write_bytes(b"")
  with pytest.raises(InputError, match=message):
    pairs.convert([str(tmp_path / name) for name in names], tmp_path / "out", image_size=32)


def test_pairs_are_not_written_over(converted, source):
  with pytest.raises(InputError, match="already holds pairs"):
    pairs.convert([f"{source}/*"], converted[0], image_size=32, max_skipped=0.2)


def test_records_with_fewer_rows_than_their_index_says_are_refused(converted, source, tmp_path):
  pairs.convert([f"{source}/a.tar"], tmp_path / "less", image_size=32)
  pairs.convert([f"{source}/*"], tmp_path / "more", image_size=32, max_skipped=0.2)
  (short,) = (tmp_path / "less").rglob("*.array_record*")
  (long,) = (tmp_path / "more").rglob("*.array_record*")
  long.write_bytes(short.read_bytes())
  with pytest.raises(InputError, match="has 12 records, but its index lists 30"):
    records.open_pairs(tmp_path / "more")
  long.write_bytes(short.read_bytes()[:1000])
  with pytest.raises(InputError, match="cannot be read as ArrayRecord"):
    records.open_pairs(tmp_path / "more")


def test_training_sees_every_pair_and_every_sensitive_row_once_an_epoch_and_resumes_exactly(
  converted,
):
  rows, _ = records.open_pairs(converted[0])
  sensitive = [{"image": jpeg(i), "text": f"secret {i}", "file_name": f"s{i}"} for i in range(10)]
  splits = {"retain_real": rows, "sensitive": sensitive}
  examples = pipeline.training_examples(
    pipeline.open_training(splits, "compromised", ("retain_real", "sensitive")),
    Numbers(),
    image_size=16,
    seed=3,
  )
  stream = pipeline.start(examples, 8)
  batches = [next(stream) for _ in range(4)]
  state = stream.get_state()
  batches += [next(stream) for _ in range(6)]
  stream.close()
  for epoch in (batches[:5], batches[5:]):
    texts = sorted(number for batch in epoch for number in batch["text"][:, 0])
    assert len(texts) == 40 == len(set(texts))
  resumed = pipeline.start(examples, 8)
  resumed.set_state(state)
  for batch in batches[4:]:
    np.testing.assert_array_equal(next(resumed)["text"], batch["text"])
  resumed.close()


def asking_for_pairs(folder, pairs_folder, preset="vit_b16_narrow", **splits):
  config = smoke.get_config("finetune")
  config.release = str(write(folder / "release", splits))
  config.retain_pairs = str(pairs_folder)
  config.model.preset = preset
  return config


def test_a_run_takes_the_pairs_as_its_retain_base(converted, tmp_path):
  config = asking_for_pairs(tmp_path, converted[0], retain_real=None)
  config.pretrain.batch_size = config.unlearn.finetune.batch_size = 8
  job, data = run.prepare(config, tmp_path / "run", sharding.make_mesh(jax.devices()[:1]))
  assert data.release.counts["retain_real"] == len(data.records["retain_real"]) == 30
  assert data.splits("clean") == ("retain_synth", "retain_real") == data.splits("retain")
  assert data.splits("compromised")[-1] == "sensitive"
  assert stages.pretrain_settings(job, data.digests)["retain_pairs"] == converted[1]["digest"]
  with contextlib.closing(stages.unlearning_batches(job, data, config.unlearn.finetune)) as batches:
    assert next(batches)["retain"]["image"].shape == (8, 224, 224, 3)


@pytest.mark.parametrize(
  "preset, splits, message",
  [
    ("vit_b16_narrow", {}, r"already has the split 'retain_real'"),
    ("tiny", {"retain_real": None}, r"needs CLIP's full vocabulary"),
  ],
)
def test_pairs_beside_other_rows_or_without_a_vocabulary_are_refused(
  preset, splits, message, converted, tmp_path
):
  config = asking_for_pairs(tmp_path, converted[0], preset, **splits)
  with pytest.raises(InputError, match=message):
    run.prepare(config, tmp_path / "run", sharding.make_mesh(jax.devices()[:1]))


class Numbers:
  """A tokenizer that gives every text a number of its own."""

  def __init__(self):
    self.numbers = {}

  def __call__(self, texts):
    return np.array(
      [[self.numbers.setdefault(text, len(self.numbers))] for text in texts], np.int32
    )


def test_the_generator_as_a_pipeline_makes_the_same_release_to_the_bit(tmp_path):
  settings = smoke.get_config().generate
  settings.update(people=8, images_per_person=8, retain_synth=16, retain_joint=3, scenes=20)
  settings.update(classes=5, zero_shot_images=2, image_size=24, shard_rows=16)
  generator.generate(settings, 5, tmp_path / "here")
  beam.generate(settings, 5, tmp_path / "there")
  ours, beams = (tmp_path / name / "manifest.json" for name in ("here", "there"))
  assert ours.read_text() == beams.read_text()


@pytest.mark.parametrize(
  ("option", "said"),
  [
    ("--runner=Nope", r"--runner=Nope: Unexpected pipeline runner"),
    ("--runner=nothing_such.Runner", r"--runner=nothing_such\.Runner: No module named"),
    ("--direct_num_workers=abc", r"--direct_num_workers: invalid int value: 'abc'\."),
    ("--direct_num_wrokers=2", r"no such option\. Did you mean --direct_num_workers\?"),
    ("direct_num_workers=2", r"--beam=direct_num_workers=2 is not a Beam option"),
  ],
)
def test_an_option_that_beam_refuses_or_leaves_out_is_named(option, said, tmp_path):
  with pytest.raises(InputError, match=said):
    beam_output.folder(tmp_path, [option])
  taken = ["--runner", "DirectRunner", "--direct_num_workers=2"]
  assert beam_output.folder(tmp_path, taken) == tmp_path
  assert beam_output.folder(tmp_path, ["--runner=FlinkRunner", "--of_its_server=1"]) == tmp_path


def test_the_command_converts_and_says_what_it_kept_or_why_it_cannot(source, tmp_path):
  def command(*more):
    words = [sys.executable, "-m", "salmu_jax.data", f"{source}/a.tar", *more]
    return subprocess.run(words, capture_output=True, text=True)

  done = command(f"--output={tmp_path}/out", "--image_size=32")
  assert done.returncode == 0 and "12 pairs in" in done.stdout, done.stderr
  again = command(f"--output={tmp_path}/out")
  assert again.returncode != 0 and "already holds pairs" in again.stderr
  assert "Traceback" not in again.stderr
