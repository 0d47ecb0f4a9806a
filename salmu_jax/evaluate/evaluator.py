"""Judges parameters by the ten metrics (protocol section 3): every picture and text embedded once."""

import functools

import jax
import numpy as np

from salmu_jax import mesh as mesh_lib
from salmu_jax import progress
from salmu_jax.data import images, pipeline, splits
from salmu_jax.data import release as release_lib
from salmu_jax.evaluate import metrics
from salmu_jax.models.clip import CLIP

_FORGET, _RETAIN = "forget", "retain_synth"


class Evaluator:
  """Evaluates models of one architecture on one release.

  Args:
    model: the CLIP module.
    release, records: the opened release and its random-access rows.
    tokenizer: of the text tower.
    settings: `config.evaluate`.
    mesh: the devices to embed on.
    threads: that decode pictures.
  """

  def __init__(self, model, release, records, tokenizer, settings, mesh, threads=1):
    self._release, self._records, self._tokenizer = release, records, tokenizer
    self._settings, self._mesh, self._threads = settings, mesh, threads
    self._size = model.sizes.image_size
    self._tables = {s: release_lib.columns(release, s) for s in release_lib.BENCHMARK_SPLITS}
    whole, rows = mesh_lib.replicated(mesh), mesh_lib.over_batch(mesh)

    def encode(params, batch, method):
      return model.apply({"params": params}, batch, method=method)

    jit = functools.partial(jax.jit, in_shardings=(whole, rows), out_shardings=whole)
    self._images = jit(lambda p, x: encode(p, images.normalise(x), CLIP.encode_image))
    self._texts = jit(lambda p, x: encode(p, x, CLIP.encode_text))

  def run(self, params, label="evaluating"):
    """Returns the results of a model: {"efficacy": ..., "utility": ...} in the released shape.

    Random draws come from a generator made afresh, so every model gets the same ones.
    """
    shown = [*release_lib.BENCHMARK_SPLITS] + ["zero_shot"] * (self._release.zero_shot is not None)
    total = sum(self._release.counts[split] for split in shown)
    with progress.bar(label, total) as update:
      image, done = {}, 0
      for split in shown:
        image[split] = self._embed_images(params, split, lambda n, at=done: update(at + n))
        done += self._release.counts[split]
    text = self._embed_texts(params, self._all_texts())
    rows = {s: self._look_up(text, t["text"]) for s, t in self._tables.items()}
    cosines = {s: np.asarray(metrics.cosines(image[s], rows[s])) for s in rows}
    masks = self.derived()
    return {
      "efficacy": self._efficacy(image, text, rows, cosines, masks),
      "utility": self._utility(image, text, cosines, masks),
    }

  def similarities(self, params, split):
    """(N,) cosines of the pairs of a benchmark split, in row order."""
    image = self._embed_images(params, split, lambda n: None)
    texts = self._tables[split]["text"]
    text = self._embed_texts(params, texts)
    return np.asarray(metrics.cosines(image, self._look_up(text, texts)))

  def gallery_size(self):
    """Captions that each image of RetFail is ranked against, its own included."""
    return 1 + sum(len(texts) for texts in self._gallery(np.random.default_rng(0)))

  def derived(self):
    """The derived splits: name -> (split, (N,) bool)."""
    return splits.derived(self._release, self._tables)

  def _efficacy(self, image, text, rows, cosines, masks):
    rng = np.random.default_rng(self._settings.seed)
    gallery = np.concatenate(self._gallery(rng))
    own = self._tables[_FORGET]["text"]
    own_id, gallery_id = np.split(_numbered([*own, *gallery]), [len(own)])
    ranks = metrics.retrieval_ranks(
      image[_FORGET], rows[_FORGET], own_id, self._look_up(text, gallery), gallery_id
    )
    accuracy = metrics.association_probe(image[_FORGET], rows[_FORGET], own_id, rng)
    core = metrics.best_of(
      *(metrics.cosines(image[_FORGET], self._look_up(text, order)) for order in self._core_texts())
    )
    return {
      "1.1_RetFail": {
        "R@1": metrics.recall_at(ranks, 1),
        "MRR": metrics.mean_reciprocal_rank(ranks),
        "outcomes": np.asarray(ranks).tolist(),
      },
      "1.2_AssocStr": _mean_and_scores(cosines[_FORGET]),
      "1.3_ACS": {"acs_accuracy": accuracy},
      "1.4_IdZSC": {"identity_classification_accuracy": self._naming(image, text, masks)},
      "1.5_CoreAssoc": _mean_and_scores(np.asarray(core)),
    }

  def _utility(self, image, text, cosines, masks):
    def part(name):
      split, mask = masks[name]
      return _mean_and_scores(cosines[split][mask])

    return {
      "2.1_GenKnow": {"ImageNet1k_Accuracy": self._general_knowledge(image, text)},
      "2.2_InterIdSim": _mean_and_scores(cosines["holdout_identity"]),
      "2.3_IntraIdSim": _mean_and_scores(cosines["holdout_association"]),
      "2.4_VisIdInt": part("retain_joint"),
      "2.5_FragSim": part("fragile_set"),
    }

  def _naming(self, image, text, masks):
    """Zero-shot accuracy of naming the people of forget_identity among themselves."""
    _, mask = masks["forget_identity"]
    identity = self._tables[_FORGET]["identity_id"][mask]
    candidates = sorted(set(identity))
    label = np.array([candidates.index(i) for i in identity], np.int32)
    prompts = self._look_up(text, [self._naming_prompt(i) for i in candidates])
    return float(np.mean(metrics.zero_shot_hits(image[_FORGET][mask], prompts, label)))

  def _general_knowledge(self, image, text):
    """Zero-shot top-1 with the prompt ensemble; None where the release has no such split."""
    if self._release.zero_shot is None:
      return None
    classes, prompts = self._release.zero_shot["classes"], self._release.zero_shot["prompts"]
    ensemble = np.stack([self._look_up(text, [p.format(c) for p in prompts]) for c in classes])
    number = {name: i for i, name in enumerate(classes)}
    names = release_lib.columns(self._release, "zero_shot")["text"]
    label = np.array([number[name] for name in names], np.int32)
    weights = metrics.class_weights(ensemble)
    return float(np.mean(metrics.zero_shot_hits(image["zero_shot"], weights, label)))

  def _gallery(self, rng):
    """Texts drawn without replacement: some of forget, then some of retain_disjoint."""
    _, mask = self.derived()["retain_disjoint"]
    pools = (self._tables[_FORGET]["text"], self._tables[_RETAIN]["text"][mask])
    count = self._settings.gallery
    return [pool[rng.choice(len(pool), min(count, len(pool)), replace=False)] for pool in pools]

  def _core_texts(self):
    """The bare leaks of the forget rows, in both orders."""
    table, known = self._tables[_FORGET], self._release.identities
    pairs = [
      (known[identity]["name"], _value(known[identity], self._release.captions[name]))
      for identity, name in zip(table["identity_id"], table["file_name"], strict=True)
    ]
    return [f"{name} {value}" for name, value in pairs], [f"{v} {n}" for n, v in pairs]

  def _naming_prompt(self, identity):
    return self._settings.name_prompt.format(self._release.identities[identity]["name"])

  def _all_texts(self):
    for table in self._tables.values():
      yield from table["text"]
    for order in self._core_texts():
      yield from order
    yield from (self._naming_prompt(i) for i in sorted(set(self._tables[_FORGET]["identity_id"])))
    if self._release.zero_shot:
      for name in self._release.zero_shot["classes"]:
        yield from (prompt.format(name) for prompt in self._release.zero_shot["prompts"])

  def _embed_images(self, params, split, update):
    """(N, D) of a split, in row order."""
    batches = pipeline.evaluation_images(
      self._records[split],
      image_size=self._size,
      batch_size=self._settings.batch_size,
      threads=self._threads,
    )
    parts, done = [], 0
    for pixels, valid in batches:
      z = self._images(params, mesh_lib.put_batch(pixels, self._mesh))
      parts.append(jax.device_get(z)[valid])
      done += int(valid.sum())
      update(done)
    return np.concatenate(parts)

  def _embed_texts(self, params, texts):
    """{text: its row}, and the (N, D) table, of the distinct texts."""
    distinct = list(dict.fromkeys(texts))
    size = self._settings.batch_size
    parts = []
    for at in range(0, len(distinct), size):
      tokens, valid = pipeline.padded(self._tokenizer(distinct[at : at + size]), size)
      z = self._texts(params, mesh_lib.put_batch(tokens, self._mesh))
      parts.append(jax.device_get(z)[valid])
    return {text: row for row, text in enumerate(distinct)}, np.concatenate(parts)

  @staticmethod
  def _look_up(embedded, texts):
    row_of, table = embedded
    return table[[row_of[text] for text in texts]]


def _mean_and_scores(scores):
  return {"mean": float(np.mean(scores, dtype=np.float64)), "scores": scores.tolist()}


def _numbered(texts):
  """(N,) int32, equal for equal texts."""
  known = {text: number for number, text in enumerate(dict.fromkeys(texts))}
  return np.array([known[text] for text in texts], np.int32)


def _value(identity, caption):
  """The private value a caption leaks; a list of e-mail addresses is represented by its first."""
  value = identity[caption["data_field"]]
  return value[0] if isinstance(value, list) else str(value)
