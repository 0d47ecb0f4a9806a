"""Evaluation time compared with PyTorch: python -m experiments.speed.evaluation WORKDIR

Both sides evaluate `tiny` with fresh weights on a generated release of 20,000 pairs, in float32 on
the CPU. A plain PyTorch script embeds separately for each of the ten metrics, with OpenCLIP's
towers and PyTorch's DataLoader. The project's evaluator embeds everything once. It is timed on the
first model of a run, when it compiles and decodes, and on a later one, when both are done. On both
sides the tokenizer has cached the tokens. Weights, batches, pictures, texts and the scikit-learn
probe are the same. The scores are compared, to check that both do the same work.

Needs requirements-torch.txt and an otherwise idle machine; takes some ten minutes on two cores,
most of them for the release. Writes evaluation.json.
"""

import argparse
import functools
import os
import pathlib

import jax
import jax.numpy as jnp
import numpy as np

from configs import mini
from experiments.speed import turns
from salmu_jax.data import derived, images, pictures, records, releases, tokenizers, zero_shot
from salmu_jax.evaluate import class_weights, measures, metrics
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.generate import generator
from salmu_jax.interop import modelconfig, statedict
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.results import lookup, splits
from salmu_jax.runtime import files, sharding

RESULTS = pathlib.Path(__file__).parent / "evaluation.json"
TURNS = 2
# 320 x 40 leaks and 7,200 other portraits.
DATA = {
  "people": 320,
  "images_per_person": 40,
  "retain_synth": 7200,
  "retain_joint": 400,
  "scenes": 100,
}
COMPARED = ("RetFail_MRR", "AssocStr", "IdZSC", "CoreAssoc", "GenKnow", "InterIdSim", "IntraIdSim")
COMPARED += ("VisIdInt", "FragSim")


def main(argv=None):
  """Measures both sides, and checks that they agree."""
  parser = argparse.ArgumentParser(prog="python -m experiments.speed.evaluation")
  parser.add_argument("workdir", type=pathlib.Path, help="for the release, which is kept")
  workdir = parser.parse_args(argv).workdir.absolute()
  jax.config.update("jax_platforms", "cpu")
  data = Data(workdir)
  scores = {}
  contenders = {
    "first model": lambda: scores.update(first=data.first()),
    "later model": lambda: scores.update(later=data.later()),
    "PyTorch": lambda: scores.update(theirs=Script(data).run()),
  }
  seconds, every = turns.medians(contenders, TURNS)
  apart = max(
    abs(scores[ours][key] - scores["theirs"][key])
    for ours in ("first", "later")
    for key in COMPARED
  )
  assert apart < 2e-3, f"the scores of the two sides differ by {apart}, more than 2e-3"
  rows = sum(data.release.counts[split] for split in ("sensitive", "retain_synth"))
  record = {"cores": os.cpu_count(), "pairs": rows, "seconds": every, "largest_difference": apart}
  ratios = {ours: seconds["PyTorch"] / seconds[ours] for ours in ("first model", "later model")}
  files.write_json(RESULTS, record | {"ratios": ratios})


class Data:
  """The release, the weights and the project's evaluator."""

  def __init__(self, workdir, sizes=DATA):
    config = mini.get_config("finetune")
    config.generate.update(sizes)
    generator.generate(config.generate, 0, workdir / "release")
    self.release = releases.open_release(workdir / "release")
    self.records = records.build(self.release, workdir / "records")
    texts = [t for s in self.release.shards for t in releases.columns(self.release, s)["text"]]
    self.words = tokenizers.compact_tokenizer(40, [*texts, *self.release.generic.values()])
    self.sizes = PRESETS["tiny"]._replace(vocab_size=self.words.vocab_size)
    self.model, self.settings = clip.CLIP(self.sizes), config.evaluate
    self.params = jax.jit(lambda: clip.init(self.model, 0))()
    self.zero_shot_set = zero_shot.of_release(self.release, self.records)
    if releases.read_fragile(self.release) is None:
      self._store_fragile()
    self._warm = self.evaluator(self._stored(workdir / "stored_pictures"))

  def evaluator(self, rows=None):
    """An evaluator that has compiled nothing. rows: {split: rows}; None for the records."""
    mesh, rows = sharding.make_mesh(jax.devices()[:1]), rows or self.records
    classes = zero_shot.of_release(self.release, rows)
    return Evaluator(
      self.model, self.release, rows, self.words, self.settings, mesh,
      kept=None, zero_shot_set=classes,
    )  # fmt: skip

  def _stored(self, folder):
    """The rows with decoded pictures, as after the data stage of a run."""
    wanted = {
      split: pictures.Wanted(
        self.records[split],
        functools.partial(records.texts, self.release, split),
        self.release.digest,
      )
      for split in (*splits.judged(), splits.ZERO_SHOT)
    }
    size = self.sizes.image_size
    return self.records | pictures.stored(folder, wanted, size=size, most_bytes=2**33)

  def _store_fragile(self):
    judge = self.evaluator()
    split, mask = judge.derived()["retain_disjoint"]
    names = releases.columns(self.release, split)["file_name"]
    cosines = judge.similarities(self.params, split)
    releases.write_fragile(self.release, names[mask], cosines[mask])

  def first(self):
    """All metrics, with nothing decoded and nothing compiled."""
    return lookup.flatten(self.evaluator().run(self.params))

  def later(self):
    """All metrics, by an evaluator that has evaluated another model; embeddings are not reused."""
    return lookup.flatten(self._warm.run(self.params))


class Script:
  """A plain script, metric by metric."""

  def __init__(self, data):
    from experiments.parity import openclip

    self.torch, self.data = openclip.torch, data
    tensors = statedict.to_tensors(data.params, data.sizes, "openclip")
    config = modelconfig.openclip(data.sizes)["model_cfg"]
    self.model = openclip.model(tensors, config)
    self.tables = {s: releases.columns(data.release, s) for s in splits.judged()}
    self.masks = derived.masks(data.release, self.tables)

  def run(self):
    """The metrics of COMPARED, and the probe."""
    forget = self.tables["forget"]
    everything = np.ones(len(forget["text"]), bool)
    image, text = self.pairs("forget", everything)
    self.probe(image, text)
    scores = {"RetFail_MRR": self.retrieval(), "AssocStr": self.similarity("forget", everything)}
    scores |= {"IdZSC": self.naming(), "CoreAssoc": self.core(), "GenKnow": self.knowledge()}
    for key, split in (("InterIdSim", "holdout_identity"), ("IntraIdSim", "holdout_association")):
      scores[key] = self.similarity(split, np.ones(len(self.tables[split]["text"]), bool))
    for key, name in (("VisIdInt", "retain_joint"), ("FragSim", "fragile_set")):
      scores[key] = self.similarity(*self.masks[name])
    return scores

  def pairs(self, split, mask):
    rows = np.flatnonzero(mask)
    return self.images(self.data.records[split], rows), self.texts(self.tables[split]["text"][rows])

  def similarity(self, split, mask):
    image, text = self.pairs(split, mask)
    return float(np.mean(np.sum(image * text, axis=1)))

  def retrieval(self):
    forget, rng = self.tables["forget"]["text"], np.random.RandomState(self.data.settings.seed)
    _, mask = self.masks["retain_disjoint"]
    pools = forget, self.tables["retain_synth"]["text"][mask]
    count = self.data.settings.gallery
    drawn = [pool[rng.choice(len(pool), min(count, len(pool)), replace=False)] for pool in pools]
    gallery = np.concatenate(drawn)
    image, own = self.pairs("forget", np.ones(len(forget), bool))
    score, positive = image @ self.texts(gallery).T, np.sum(image * own, axis=1)
    same = gallery[None, :] == forget[:, None]
    ranks = np.sum((score >= positive[:, None] - 1e-6) & ~same, axis=1)
    return float(np.mean(1 / (1 + ranks)))

  def probe(self, image, text):
    rng = np.random.RandomState(0)
    metrics.association_probe(image, text, rng, self.data.settings.probe)

  def naming(self):
    forget, identities = self.tables["forget"], self.data.release.identities
    _, mask = self.masks["forget_identity"]
    people = sorted(set(forget["identity_id"][mask]))
    prompts = [self.data.settings.name_prompt.format(identities[who]["name"]) for who in people]
    image = self.images(self.data.records["forget"], np.flatnonzero(mask))
    best = np.argmax(image @ self.texts(prompts).T, axis=1)
    return float(np.mean(np.array(people)[best] == forget["identity_id"][mask]))

  def core(self):
    judge = self.data.evaluator()
    image = self.images(self.data.records["forget"], np.arange(len(self.tables["forget"]["text"])))
    core = measures.core_texts(self.data.release, judge.tables["forget"])
    orders = [np.sum(image * self.texts(order), axis=1) for order in core]
    return float(np.mean(np.maximum(*orders)))

  def knowledge(self):
    zero_shot_set = self.data.zero_shot_set
    rows = self.texts(class_weights.prompts(zero_shot_set)).reshape(
      len(zero_shot_set.classes), len(zero_shot_set.prompts), -1
    )
    weights = np.asarray(metrics.class_weights(jnp.asarray(rows)))
    image = self.images(zero_shot_set.rows, np.arange(len(zero_shot_set.labels)))
    return float(np.mean(np.argmax(image @ weights.T, axis=1) == zero_shot_set.labels))

  def images(self, rows, numbers):
    """(N, D) of the pictures of these rows."""
    loader = self.torch.utils.data.DataLoader(
      Pictures(rows, numbers, self.data.sizes.image_size),
      self.data.settings.batch_size,
      num_workers=0,
    )
    with self.torch.inference_mode():
      parts = [self.model.encode_image(batch, normalize=True).numpy() for batch in loader]
    return np.concatenate(parts)

  def texts(self, texts):
    """(N, D) of these texts."""
    size, parts = self.data.settings.batch_size, []
    with self.torch.inference_mode():
      for at in range(0, len(texts), size):
        tokens = self.torch.from_numpy(
          self.data.words(list(texts[at : at + size])).astype(np.int64)
        )
        parts.append(self.model.encode_text(tokens, normalize=True).numpy())
    return np.concatenate(parts)


class Pictures:
  """A PyTorch dataset of normalised pictures."""

  def __init__(self, rows, numbers, size):
    self.rows, self.numbers, self.size = rows, numbers, size
    self.mean, self.std = (np.array(x, np.float32) for x in (images.MEAN, images.STD))

  def __len__(self):
    return len(self.numbers)

  def __getitem__(self, index):
    image = images.decode(self.rows[int(self.numbers[index])]["image"], "a row")
    pixels = images.resize_and_crop(image, self.size).astype(np.float32) / 255
    return np.ascontiguousarray(((pixels - self.mean) / self.std).transpose(2, 0, 1))


def section(path=RESULTS):
  """The README's sentences on the comparison."""
  record = files.read_json(path)
  median = {name: float(np.median(times)) for name, times in record["seconds"].items()}
  first, later = record["ratios"]["first model"], record["ratios"]["later model"]
  return (
    f"All ten metrics on a release of {record['pairs']:,} pairs take {median['first model']:.0f} s "
    f"for the first model of a run, and {median['later model']:.1f} s for every later one. A plain "
    f"PyTorch script that embeds separately for each metric takes {median['PyTorch']:.0f} s per "
    f"model: {first:.1f} and {later:.1f} times as long.\n"
  )


if __name__ == "__main__":
  main()
