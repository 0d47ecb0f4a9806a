"""A job on the handmade release: a small model on one device, and a finished model folder."""

import jax
from handmade import write

from salmu_jax import defaults, train
from salmu_jax.benchmark.job import Job
from salmu_jax.data import records, releases, tokenizers
from salmu_jax.data.dataset import Data
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.runtime import files, sharding
from salmu_jax.train import checkpoint


def make(folder):
  """(Job, Data) with one unlearning run, "mine", whose method a test brings along."""
  release = releases.open_release(write(folder / "release"))
  tokenizer = tokenizers.compact_tokenizer(16, ["a picture of a thing"])
  sizes = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), 16, tokenizer.vocab_size)
  config = defaults.get_config()
  config.tensorboard = False
  config.attacks.names = ()
  config.unlearn = {"mine": defaults.unlearning_run("mine", batch_size=4, budget=1.0)}
  mesh = sharding.make_mesh(jax.devices()[:1])
  rows = records.build(release, folder / "records")
  return Job(config, folder, folder, mesh, CLIP(sizes)), Data(release, rows, tokenizer)


def changed(job):
  """The job with a config of its own, for a test to change."""
  return job._replace(config=job.config.copy_and_resolve_references())


def finished_model(folder, job, tokenizer, scan=False):
  """A finished model folder as a run leaves it, and its parameters in the unrolled layout."""
  params = train.init_params(job.model, 3, job.mesh)
  stored = clip.stack_layers(params) if scan else params
  checkpoint.save_params(folder / "params", stored)
  tokenizers.save(tokenizer, folder / "tokenizer.json")
  files.write_json(folder / "settings.json", {"seed": 3, "model": {"preset": "tiny", "scan": scan}})
  files.write_json(folder / "done.json", {})
  return params
