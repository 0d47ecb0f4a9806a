"""What a run keeps of decoded pictures, and that its stages read nothing else and get the same."""

import os
import shutil

import littlejob
import pytest
from streams import assert_same, first, judged

from salmu_jax import train
from salmu_jax.benchmark import evaluation, opening, stages
from salmu_jax.data import imagenet, pictures, pipeline, records, zero_shot
from salmu_jax.results import splits
from salmu_jax.runtime import files, hosts


@pytest.fixture
def job(tmp_path_factory):
  """A job at the size of the pictures of its release, with the zero-shot set of that."""
  job, data = littlejob.make(tmp_path_factory.mktemp("job"))
  sizes = job.model.sizes._replace(image_size=24)
  job.config.evaluate.update(batch_size=8, gallery=4)
  data = data._replace(zero_shot=zero_shot.of_release(data.release, data.records))
  return job._replace(model=job.model.clone(sizes=sizes)), data


def names_stored(job, data):
  rows = opening.store_pictures(job, data).records
  return {split for split, source in rows.items() if isinstance(source, pictures.StoredRows)}


def test_every_stage_of_a_run_reads_the_store_and_gets_the_same_bits(job, decodings):
  job, data = job
  kept, seen, counts = opening.store_pictures(job, data), [], []
  params = train.init_params(job.model, 0, job.mesh)
  for which in (kept, data):
    decodings.clear()
    some = {**which.records, "forget": records.Rows(which.records["forget"], [1, 3, 5, 7])}
    examples = pipeline.training_examples(
      pipeline.open_training(which.records, "compromised", which.splits("compromised")),
      which.tokenizer,
      **{"image_size": 24, "seed": 0, "area": 0.8, "flip": 0.5},
    )
    evaluator = evaluation.make_evaluator(job, which)
    streams = [
      pipeline.start(examples, 8),
      stages.unlearning_batches(job, which, job.config.unlearn.mine),
      stages.unlearning_batches(job, which._replace(records=some), job.config.unlearn.mine),
    ]
    seen.append([[first(stream) for stream in streams], evaluator.embed(params)])
    counts.append(len(decodings))
  assert_same(*seen)
  assert counts[0] == 0 < counts[1]


def test_a_run_stores_what_it_will_read(job):
  job, data = job
  everything = {"sensitive", "forget", "holdout_association", "holdout_identity", "retain_synth"}
  everything |= {"retain_real", "zero_shot"}
  assert names_stored(job, data) == everything == set(data.records)
  assert names_stored(job, data._replace(retain_pairs="digest")) == everything - {"retain_real"}
  files.write_json(job.model_folder("clean") / "done.json", {})
  files.write_json(job.model_folder("compromised") / "done.json", {})
  assert names_stored(job, data) == everything - {"sensitive"}
  job.config.unlearn = {}
  assert names_stored(job, data) == everything - {"sensitive", "retain_real"}
  assert names_stored(job, data._replace(zero_shot=None)) == {*splits.judged()}
  job.config.stored_pictures = 0.0
  assert names_stored(job, data) == set()


def test_a_process_that_is_not_the_first_stores_on_its_own_disk(job, monkeypatch, tmp_path):
  job, data = job
  expected = names_stored(job, data)
  monkeypatch.setattr(hosts, "is_first", lambda: False)
  assert names_stored(job._replace(scratch=tmp_path / "disk"), data) == expected
  assert {path.stem for path in (tmp_path / "disk" / "stored_pictures").iterdir()} == expected


def test_imagenet_is_stored_and_made_anew_when_a_file_of_it_has_changed(
  job, copies, tmp_path, said, decodings
):
  (job, data), folder = job, tmp_path / "imagenet"
  shutil.copytree(copies["imagefolder"], folder)
  job.config.imagenet = f"imagefolder:{folder}"
  expected = judged(imagenet.open_source(job.config.imagenet).rows)
  for changed, times in ((False, 0), (False, 0), (True, 1)):
    if changed:
      os.utime(next(folder.rglob("*.*")), (0, 0))
    data = data._replace(zero_shot=imagenet.open_source(job.config.imagenet))
    kept = opening.store_pictures(job, data)
    decodings.clear()
    assert_same(judged(kept.zero_shot.rows), expected)
    assert not decodings
    assert said().count("imagenet.u8 is not usable and rebuilt: its source is") == times
