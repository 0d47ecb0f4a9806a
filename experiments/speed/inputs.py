"""Input pipeline compared with PyTorch's DataLoader: python -m experiments.speed.inputs WORKDIR

WORKDIR holds a finished mini run. Both sides read the same rows in random order, crop and mirror
with the same code, and tokenise with the same tokenizer. DataLoader reads ArrayRecord files and
decodes JPEGs with Pillow. At 512 pixels, where pretraining has to decode every time, so does
salmu_jax. At 64 pixels, salmu_jax is measured both so and with pictures decoded once and stored, as
in a run. Mini's training step, which consumes the rows, takes turns with all. Needs
requirements-torch.txt and an otherwise idle machine. Writes inputs.json.
"""

import argparse
import contextlib
import functools
import io
import itertools
import os
import pathlib
import tempfile

import jax
import numpy as np

from configs import mini
from experiments.speed import turns
from salmu_jax import train
from salmu_jax.data import images, pictures, pipeline, records, releases, tokenizers
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import files, sharding

RESULTS = pathlib.Path(__file__).parent / "inputs.json"
BATCH, BATCHES, AREA, FLIP = 128, 16, 0.8, 0.5
SPLITS = ("retain_synth", "retain_real", "sensitive")
STEP = "mini's training step"


class Rows:
  """A PyTorch map-style dataset over the same rows."""

  def __init__(self, sources, words, size):
    self.sources, self.words, self.size = sources, words, size
    self.ends = np.cumsum([len(source) for source in sources])

  def __len__(self):
    return int(self.ends[-1])

  def __getitem__(self, index):
    which = int(np.searchsorted(self.ends, index, side="right"))
    row = self.sources[which][index - (self.ends[which - 1] if which else 0)]
    image, rng = images.decode(row["image"], "a row"), np.random.default_rng(index)
    picture = images.random_crop(image, self.size, rng, area=AREA, flip=FLIP)
    return picture.copy(), self.words([releases.text_of(row["text"])])[0]


def main(argv=None):
  """Measures rows per second of each contender, and of the training step."""
  parser = argparse.ArgumentParser(prog="python -m experiments.speed.inputs")
  parser.add_argument("workdir", type=pathlib.Path, help="of a finished mini run")
  workdir = parser.parse_args(argv).workdir
  jax.config.update("jax_platforms", "cpu")
  release = releases.open_release(workdir / "release")
  sources = records.build(release, workdir / "records")
  words = tokenizers.load(workdir / "models" / "compromised" / "tokenizer.json")
  mini_rows = {split: sources[split] for split in SPLITS}
  with tempfile.TemporaryDirectory() as folder:
    stored = _stored(release, mini_rows, folder)
    others = {STEP: _step(stored, words)}
    small = measure({"": mini_rows, ", stored pictures": stored}, words, 64, BATCH, others)
  large = measure({"": {"sensitive": _photos(sources["sensitive"])}}, words, 224, BATCH // 4, {})
  files.write_json(RESULTS, {"cores": os.cpu_count(), "64 px": small, "512 px": large})


def measure(prepared, words, size, batch, others):
  """Rows per second of the contenders at crops of `size`.

  Args:
    prepared: {suffix of the contender's name: {split: rows}}; DataLoader reads the rows of "".
  """
  with contextlib.ExitStack() as stack:
    contenders = {
      f"salmu_jax, {threads} thread{'s' * (threads > 1)}{kind}": _ours(
        sources, words, size, batch, threads, stack
      )
      for kind, sources in prepared.items()
      for threads in (1, 2)
    }
    contenders |= {
      f"DataLoader, {workers} worker processes": _theirs(prepared[""], words, size, batch, workers)
      for workers in (0, 1, 2)
    }
    seconds, every = turns.medians(contenders | others)
  rates = {name: batch * BATCHES / duration for name, duration in seconds.items()}
  return {"rows_a_second": rates, "seconds": every}


def _stored(release, sources, folder):
  """The rows with decoded and stored pictures, as in a run."""
  wanted = {
    split: pictures.Wanted(rows, functools.partial(records.texts, release, split), release.digest)
    for split, rows in sources.items()
  }
  return pictures.stored(folder, wanted, size=64, most_bytes=2**30)


def _photos(rows):
  """Portraits upscaled to 512 px, as JPEG in memory, as costly to decode as web pictures."""
  photos = []
  for row in itertools.islice(rows, 256):
    encoded, picture = io.BytesIO(), images.decode(row["image"], "a row").resize((512, 512))
    picture.save(encoded, "JPEG", quality=92)
    photos.append({**row, "image": encoded.getvalue()})
  return photos


def _ours(sources, words, size, batch, threads, stack):
  rows = pipeline.open_training(sources, "compromised", tuple(sources))
  options = {"image_size": size, "seed": 0, "area": AREA, "flip": FLIP}
  examples = pipeline.training_examples(rows, words, **options)
  stream = pipeline.start(examples, batch, threads=threads, ahead=1)
  stack.enter_context(contextlib.closing(stream))
  return lambda: [next(stream) for _ in range(BATCHES)]


def _theirs(sources, words, size, batch, workers):
  import torch

  rows = Rows(list(sources.values()), words, size)
  loader = torch.utils.data.DataLoader(
    rows,
    batch,
    sampler=torch.utils.data.RandomSampler(rows, replacement=True, num_samples=10**9),
    num_workers=workers,
    multiprocessing_context="forkserver" if workers else None,
    prefetch_factor=1 if workers else None,
  )
  # Workers start with the iterator; their start-up is not compared.
  stream = iter(loader)
  return lambda: [next(stream) for _ in range(BATCHES)]


def _step(sources, words):
  """Training steps of mini on as many rows as the contenders prepare."""
  config = mini.get_config("finetune")
  sizes = PRESETS[config.model.preset]._replace(vocab_size=words.vocab_size)
  model, mesh = clip.CLIP(sizes), sharding.make_mesh(jax.devices()[:1])
  rows, size = pipeline.open_training(sources, "compromised", tuple(sources)), sizes.image_size
  examples = pipeline.training_examples(rows, words, image_size=size, seed=0)
  texts = lambda: pipeline.sample_texts(examples)
  program = train.pretrain_program(config, model, mesh, 1000, texts)
  state = [program.start(train.init_params(model, 0, mesh))]
  with contextlib.closing(pipeline.start(examples, config.pretrain.batch_size)) as stream:
    batch = next(program.batches(stream))

  def call():
    for _ in range(BATCHES * BATCH // config.pretrain.batch_size):
      state[0], metrics = program.step(state[0], batch)
    jax.block_until_ready(metrics)

  return call


def section(path=RESULTS):
  """The README's table."""
  record = files.read_json(path)
  small, large = (record[kind]["rows_a_second"] for kind in ("64 px", "512 px"))
  lines = [f"| | rows/s at 64 px | ratio to {STEP} | rows/s at 512 px |"]
  lines.append("| --- | ---: | ---: | ---: |")
  for name, rate in small.items():
    photo = f"{large[name]:,.0f}" if name in large else ""
    lines.append(f"| {name} | {rate:,.0f} | {rate / small[STEP]:.2f} | {photo} |")
  return "\n".join(lines) + "\n"


if __name__ == "__main__":
  main()
