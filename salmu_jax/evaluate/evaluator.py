"""Judges parameters by the ten metrics (protocol section 3): every picture and text embedded
once.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from salmu_jax.data import images, pipeline, releases, splits
from salmu_jax.evaluate import breakdown, class_weights, metrics, outcomes
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import progress, sharding
from salmu_jax.train import checkpoint

_FORGET, _RETAIN, _ZERO_SHOT = "forget", "retain_synth", "zero_shot"
# Whose names IdZSC chooses among: rows of forget, and all identities of the release, to ids.
CANDIDATES = {
  "forget_identity": lambda table, mask, identities: set(table["identity_id"][mask]),
  "forget": lambda table, mask, identities: set(table["identity_id"]),
  "all": lambda table, mask, identities: set(identities),
}


class Embedded(NamedTuple):
  """What one model makes of a release, all rows of unit length.

  image: {split: (N, D)}; NaN in rows of retain_synth that no metric looks at. text: ({text: its
    row}, (T, D)). class_weights: (C, D), or None where
  general knowledge is not measured.
  """

  image: dict
  text: tuple
  class_weights: np.ndarray | None

  def of(self, texts):
    """(N, D) of texts that were embedded."""
    row_of, table = self.text
    return table[[row_of[text] for text in texts]]


class Evaluator:
  """Evaluates models of one architecture on one release.

  Args:
    model: the CLIP module.
    release, records: the opened release and its random-access rows.
    tokenizer: of the text tower.
    settings: `config.evaluate`.
    mesh: the devices to embed on.
    cache: folder for class weights, by a hash of the checkpoint.
    zero_shot_set: imagenet.ZeroShotSet to measure general knowledge on, or None.
    threads: that decode pictures.
  """

  def __init__(
    self, model, release, records, tokenizer, settings, mesh, *, cache, zero_shot_set, threads=1
  ):
    self._release, self._tokenizer, self._settings, self._mesh = release, tokenizer, settings, mesh
    self._cache, self._zero_shot, self._threads = cache, zero_shot_set, threads
    self._size, self._quick_gelu = model.sizes.image_size, model.sizes.quick_gelu
    model = model.clone(dtype=jnp.dtype(settings.compute_dtype))
    self.tables = {s: releases.columns(release, s) for s in releases.BENCHMARK_SPLITS}
    self._pictures = {split: records[split] for split in self.tables}
    if zero_shot_set:
      self._pictures[_ZERO_SHOT] = zero_shot_set.rows
    self._images, self._texts = jitted_encoders(model, mesh)

  def run(self, params, label="evaluating", attack=None):
    """Returns the results of a model, see `score`.

    Args:
      params: of the model. label: of the bar.
      attack: attack(params, Embedded), whose findings become "recoverability" of "additional"; or
        None.
    """
    z = self.embed(params, label)
    results = self.score(z, self._settings)
    if attack:
      results["additional"]["recoverability"] = attack(params, z)
    return results

  def embed(self, params, label="embedding", prompts=(), images=None):
    """Every picture and every text through the model, as `Embedded`.

    Args:
      params: of the model.
      label: of the bar.
      prompts: name prompts to embed beside the configured one, for scoring with other settings.
      images: `Embedded.image` of a model with the same image tower, to be taken instead of
        embedding again.
    """
    texts = list(dict.fromkeys(self._all_texts([self._settings.name_prompt, *prompts])))
    classes = class_weights.prompts(self._zero_shot) if self._zero_shot else []
    asked = {}
    if images is None:
      asked = {split: np.arange(len(rows)) for split, rows in self._pictures.items()}
      asked[_RETAIN] = self._looked_at()
    total = sum(map(len, asked.values())) + len(texts) + len(classes)
    with progress.counting(label, total) as tick:
      image = images or {
        split: self._embed_some(params, split, rows, tick) for split, rows in asked.items()
      }
      table = self.embed_texts(params, texts, tick)
      weights = self._class_weights(params, tick) if self._zero_shot else None
    return Embedded(image, ({text: row for row, text in enumerate(texts)}, table), weights)

  def score(self, z, settings):
    """The metrics of what a model made of the release.

    Random draws come from a generator made afresh, so every model gets the same ones, in the order
    of the released evaluator: the gallery's forget texts, its retain texts, then the probe's.

    Args:
      z: Embedded.
      settings: `config.evaluate`.

    Returns:
      {"efficacy": ..., "utility": ...} in the released shape, and "additional": numbers of this
      project's own, among them "rows", what intervals are made from: {"groups": see
      `outcomes.groups`, "hits": {"ACS", "IdZSC", "GenKnow": 1 or 0 of each case}, "ACS_rows": of
      forget, of the probe's cases}. Ranks ("outcomes") are 0 for the best.
    """
    masks = self.derived()
    rows = {s: z.of(table["text"]) for s, table in self.tables.items()}
    cosines = {s: np.asarray(metrics.cosines(z.image[s], rows[s])) for s in rows}
    rng = np.random.RandomState(settings.seed)
    gallery = np.concatenate(self._gallery(masks, settings.gallery, rng))
    probed, right = metrics.association_probe_hits(
      z.image[_FORGET], rows[_FORGET], rng, settings.probe
    )
    hits = {
      "ACS": right,
      "IdZSC": self._naming(z, masks, settings),
      "GenKnow": self._general_knowledge(z),
    }
    efficacy = self._efficacy(z, cosines[_FORGET], gallery, hits)
    halves = metrics.association_probe_in_halves(
      z.image[_FORGET],
      rows[_FORGET],
      _numbered(self.tables[_FORGET]["text"]),
      np.random.default_rng(settings.seed),
      settings.probe,
    )
    results = {"efficacy": efficacy, "utility": self._utility(cosines, masks, hits["GenKnow"])}
    groups = breakdown.labels(self._release, self.tables)
    additional = {
      "ACS_in_halves": halves,
      "breakdown": breakdown.measure(results, groups),
      "rows": {
        "groups": outcomes.groups(self.tables, masks, self._zero_shot),
        "hits": {key: None if each is None else _whole(each) for key, each in hits.items()},
        "ACS_rows": probed.tolist(),
      },
      "examples": outcomes.examples(z, self.tables, gallery, self._pictures, self._release),
    }
    return {**results, "additional": additional}

  def similarities(self, params, split):
    """(N,) cosines of the pairs of a benchmark split, in row order."""
    texts = self.tables[split]["text"]
    distinct, row = np.unique(texts, return_inverse=True)
    with progress.counting(f"similarities of {split}", len(texts) + len(distinct)) as tick:
      image = self._embed_images(params, self._pictures[split], tick)
      text = self.embed_texts(params, list(distinct), tick)
    return np.asarray(metrics.cosines(image, text[row]))

  def gallery_size(self):
    """Captions that each image of RetFail is ranked against, its own included."""
    return 1 + len(self.gallery())

  def gallery(self):
    """The texts that RetFail ranks every image against."""
    rng = np.random.RandomState(self._settings.seed)
    return np.concatenate(self._gallery(self.derived(), self._settings.gallery, rng))

  def forget_ranks(self, params):
    """(N,) ranks of RetFail, of parameters that nothing else is asked of."""
    gallery, rows = self.gallery(), self._pictures[_FORGET]
    texts = list(dict.fromkeys([*self.tables[_FORGET]["text"], *gallery]))
    with progress.counting("retrieval of forget", len(texts) + len(rows)) as tick:
      table = self.embed_texts(params, texts, tick)
      image = self._embed_images(params, rows, tick)
    row_of = {text: row for row, text in enumerate(texts)}
    return self._retrieval(Embedded({_FORGET: image}, (row_of, table), None), gallery)

  def embed_pictures(self, params, split):
    """(N, D) of the pictures of a split."""
    rows = self._pictures[split]
    with progress.counting(f"pictures of {split}", len(rows)) as tick:
      return self._embed_images(params, rows, tick)

  def derived(self):
    """The derived splits: name -> (split, (N,) bool)."""
    return splits.derived(self._release, self.tables)

  def _retrieval(self, z, gallery):
    """(N,) ranks of forget's captions among a gallery."""
    own = self.tables[_FORGET]["text"]
    own_id, gallery_id = np.split(_numbered([*own, *gallery]), [len(own)])
    ranks = metrics.retrieval_ranks(z.image[_FORGET], z.of(own), own_id, z.of(gallery), gallery_id)
    return np.asarray(ranks)

  def _efficacy(self, z, cosines, gallery, hits):
    image = z.image[_FORGET]
    ranks = self._retrieval(z, gallery)
    core = metrics.best_of(*(metrics.cosines(image, z.of(order)) for order in self.core_texts()))
    return {
      "1.1_RetFail": {
        "R@1": metrics.recall_at(ranks, 1),
        "MRR": metrics.mean_reciprocal_rank(ranks),
        "outcomes": ranks.tolist(),
      },
      "1.2_AssocStr": _mean_and_scores(cosines),
      "1.3_ACS": {"acs_accuracy": float(np.mean(hits["ACS"]))},
      "1.4_IdZSC": {"identity_classification_accuracy": float(np.mean(hits["IdZSC"]))},
      "1.5_CoreAssoc": _mean_and_scores(np.asarray(core)),
    }

  def _utility(self, cosines, masks, known):
    def part(name):
      split, mask = masks[name]
      return _mean_and_scores(cosines[split][mask])

    return {
      "2.1_GenKnow": {"ImageNet1k_Accuracy": None if known is None else float(np.mean(known))},
      "2.2_InterIdSim": _mean_and_scores(cosines["holdout_identity"]),
      "2.3_IntraIdSim": _mean_and_scores(cosines["holdout_association"]),
      "2.4_VisIdInt": part("retain_joint"),
      "2.5_FragSim": part("fragile_set"),
    }

  def _naming(self, z, masks, settings):
    """Hits of naming, zero-shot, the people of forget_identity among the candidates."""
    _, mask = masks["forget_identity"]
    choose = CANDIDATES[settings.name_candidates]
    candidates = sorted(choose(self.tables[_FORGET], mask, self._release.identities))
    number = {identity: i for i, identity in enumerate(candidates)}
    label = np.array([number[i] for i in self.tables[_FORGET]["identity_id"][mask]], np.int32)
    prompts = self._naming_prompts(candidates, settings.name_prompt)
    hits = metrics.zero_shot_hits(z.image[_FORGET][mask], z.of(prompts), label, _numbered(prompts))
    return np.asarray(hits)

  def _general_knowledge(self, z):
    """Hits of the zero-shot test with the prompt ensemble; None where there is nothing to
    measure it on.
    """
    if self._zero_shot is None:
      return None
    known = self._zero_shot
    hits = metrics.zero_shot_hits(
      z.image[_ZERO_SHOT], z.class_weights, known.labels, _numbered(known.classes)
    )
    return np.asarray(hits)

  def _class_weights(self, params, tick):
    kept = self._tokenizer.kept
    precision = self._settings.compute_dtype
    # The activation is no parameter, and changes what the same parameters say.
    gelu = self._quick_gelu
    key = [checkpoint.digest(params), self._tokenizer.context_length, kept, precision, gelu]
    embed = lambda texts: self.embed_texts(params, texts, tick)
    return class_weights.class_weights(self._zero_shot, embed, self._cache, key)

  def _gallery(self, masks, count, rng):
    """Texts drawn without replacement: some of forget, then some of retain_disjoint."""
    _, mask = masks["retain_disjoint"]
    pools = (self.tables[_FORGET]["text"], self.tables[_RETAIN]["text"][mask])
    return [pool[rng.choice(len(pool), min(count, len(pool)), replace=False)] for pool in pools]

  def core_texts(self):
    """The bare leaks of the forget rows, in both orders."""
    columns = (self.tables[_FORGET][key] for key in ("identity_id", "file_name", "text"))
    leaks = [releases.leak(self._release, *row) for row in zip(*columns, strict=True)]
    return [f"{name} {v}" for name, _, v in leaks], [f"{v} {name}" for name, _, v in leaks]

  def _naming_prompts(self, identities, prompt):
    return [prompt.format(self._release.identities[i]["name"]) for i in identities]

  def _all_texts(self, name_prompts):
    for table in self.tables.values():
      yield from table["text"]
    for order in self.core_texts():
      yield from order
    for prompt in name_prompts:
      yield from self._naming_prompts(self._release.identities, prompt)

  def _looked_at(self):
    """Numbers of the rows of retain_synth whose pictures a metric looks at: of the others, texts
    alone.
    """
    masks = self.derived()
    names = [name for name in ("retain_joint", "fragile_set") if name in masks]
    return np.flatnonzero(np.any([masks[name][1] for name in names], axis=0))

  def _embed_some(self, params, split, numbers, tick):
    """(N, D) of a split, NaN but for the rows of these numbers."""
    rows = self._pictures[split]
    found = self._embed_images(params, rows, tick, numbers)
    out = np.full((len(rows), found.shape[1]), np.nan, np.float32)
    out[numbers] = found
    return out

  def _embed_images(self, params, rows, tick, numbers=None):
    """(N, D) of random-access rows, in their order; of those of these numbers, if given."""
    batches = pipeline.evaluation_images(
      rows,
      numbers=numbers,
      image_size=self._size,
      batch_size=self._settings.batch_size,
      threads=self._threads,
    )
    parts = []
    for pixels, valid in batches:
      z = self._images(params, sharding.put_batch(pixels, self._mesh))
      parts.append(jax.device_get(z)[valid])
      tick(int(valid.sum()))
    return np.concatenate(parts)

  def embed_texts(self, params, texts, tick=lambda count: None):
    """(N, D) of texts, in their order; tick(count) is called as they are done."""
    size = self._settings.batch_size
    parts = []
    for at in range(0, len(texts), size):
      tokens = self._tokenizer(texts[at : at + size])
      whole = sharding.put_known(pipeline.filled(tokens, size), self._mesh)
      parts.append(jax.device_get(self._texts(params, whole))[: len(tokens)])
      tick(len(tokens))
    return np.concatenate(parts)


def jitted_encoders(model, mesh):
  """The embedding steps as they run: images(params, (B, S, S, 3) uint8) and texts(params, (B, L)
  int32).

  Both return (B, D), whole on every device. Parameters lie as they come.
  """
  whole, rows = sharding.replicated(mesh), sharding.over_batch(mesh)

  def encode(params, batch, method):
    # Float32 is meant: by default TPUs and recent GPUs multiply in less, and rank differently.
    with jax.default_matmul_precision("highest" if model.dtype == jnp.float32 else None):
      return model.apply({"params": params}, batch, method=method)

  jit = functools.partial(jax.jit, in_shardings=(None, rows), out_shardings=whole)
  return (
    jit(lambda p, x: encode(p, images.normalise(x), CLIP.encode_image)),
    jit(lambda p, x: encode(p, x, CLIP.encode_text)),
  )


def _mean_and_scores(scores):
  return {"mean": float(np.mean(scores, dtype=np.float64)), "scores": scores.tolist()}


def _whole(hits):
  """Hits as JSON has them: 1 or 0, null for NaN."""
  return [None if np.isnan(hit) else int(hit) for hit in hits]


def _numbered(texts):
  """(N,) int32, equal for equal texts."""
  known = {text: number for number, text in enumerate(dict.fromkeys(texts))}
  return np.array([known[text] for text in texts], np.int32)
