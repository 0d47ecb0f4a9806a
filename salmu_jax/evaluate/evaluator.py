"""Evaluates parameters by the metrics table; every picture and text is embedded once."""

import copy
import functools
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from salmu_jax.data import derived, pipeline, releases
from salmu_jax.data.tokenizers import Tokenizer
from salmu_jax.data.zero_shot import ZeroShotSet
from salmu_jax.evaluate import class_weights, embeddings, examples, facts, groups, measures, metrics
from salmu_jax.evaluate.embeddings import Embedded, jitted_encoders
from salmu_jax.evaluate.measures import Judged
from salmu_jax.models.clip import CLIP
from salmu_jax.results import breakdown, splits
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.results.reductions import reduce
from salmu_jax.results.splits import ZERO_SHOT
from salmu_jax.runtime import files, kept, progress, sharding
from salmu_jax.train import checkpoint

_FORGET = "forget"


class Evaluator:
  """Evaluates models of one architecture on one release.

  Args:
    model: the CLIP module.
    release, records: the opened release and its random-access rows.
    tokenizer: of the text tower.
    settings: `config.evaluate`.
    mesh: the devices to embed on.
    kept: folder for image embeddings, by a hash of the image tower, and class weights, by a hash of
      the checkpoint; None to keep nothing.
    zero_shot_set: the set for general knowledge, or None.
    threads: that decode pictures.
  """

  def __init__(
    self,
    model: CLIP,
    release: releases.Release,
    records: Mapping[str, Sequence],
    tokenizer: Tokenizer,
    settings: ConfigDict,
    mesh: jax.sharding.Mesh,
    *,
    kept: pathlib.Path | None,
    zero_shot_set: ZeroShotSet | None,
    threads: int = 1,
  ):
    self._release, self._tokenizer, self._settings, self._mesh = release, tokenizer, settings, mesh
    self._kept, self._zero_shot, self._threads = kept, zero_shot_set, threads
    self._size, self._quick_gelu = model.sizes.image_size, model.sizes.quick_gelu
    # All models are judged in the same arithmetic, however they were trained.
    model = model.clone(dtype=jnp.dtype(settings.compute_dtype), attention="plain")
    self.tables = {s: releases.columns(release, s) for s in splits.judged()}
    self._records, self._questions = records, {}
    self._pictures = {split: records[split] for split in self.tables if split in records}
    if zero_shot_set:
      self._pictures[ZERO_SHOT] = zero_shot_set.rows
    self._images, self._texts = jitted_encoders(model, mesh)

  def with_settings(self, settings: ConfigDict) -> "Evaluator":
    """This evaluator and its compiled encoders, with other settings for draws and scores."""
    other = copy.copy(self)
    other._settings = settings
    return other

  def run(
    self,
    params: Mapping,
    label: str = "evaluating",
    attack: Callable[[Mapping, Embedded], dict] | None = None,
  ) -> dict:
    """Returns the results of a model, see `score`.

    Args:
      params: of the model. label: of the bar.
      attack: attack(params, Embedded), whose findings become "recoverability"; or None.
    """
    z = self.embed(params, label)
    results = self.score(z)
    if attack:
      results["salmu_jax"]["additional"]["recoverability"] = attack(params, z)
    return results

  def embed(
    self,
    params: Mapping,
    label: str = "embedding",
    prompts: Iterable[str] = (),
    images: Mapping[str, np.ndarray] | None = None,
  ) -> Embedded:
    """Embeds every picture and every text.

    Args:
      params: of the model.
      label: of the bar.
      prompts: name prompts to embed beside the configured one, for scoring with other settings.
      images: `Embedded.image` of a model with the same image tower, to reuse instead of embedding
        again.
    """
    texts = list(dict.fromkeys(self._all_texts([self._settings.name_prompt, *prompts])))
    classes = class_weights.prompts(self._zero_shot) if self._zero_shot else []
    pictures = self._rows_looked_at() if images is None else {}
    total = sum(map(len, pictures.values())) + len(texts) + len(classes)
    with progress.counting(label, total) as tick:
      image = images or {
        split: self._embed_some(params, split, rows, tick) for split, rows in pictures.items()
      }
      table = self.embed_texts(params, texts, tick)
      weights = self._class_weights(params, tick) if self._zero_shot else None
    return Embedded(image, ({text: row for row, text in enumerate(texts)}, table), weights)

  def score(self, z: Embedded) -> dict:
    """Computes the metrics from a model's embeddings of the release.

    Random draws come from a fresh generator, so they are the same for every model. Their order is
    that of the released evaluator: the gallery's forget texts, its retain texts, then the probe's.

    Returns:
      The numbers and rows of the metrics table, under their keys in a results file. Under
      "salmu_jax", "additional" is what this project adds: "metrics" (the numbers of the metrics
      table that the released evaluator does not have), "ACS_in_halves", "breakdown", "facts" (see
      `facts.described`), "rows" (from which bootstrap CIs are made, with the "groups" of
      `groups.bootstrap_groups`), and "examples".
    """
    judged = self._judged(z)
    results = measures.measured(judged)
    labels = groups.breakdown_labels(self._release, self.tables)
    additional = results["salmu_jax"]["additional"]
    rows = additional.pop("rows")
    additional |= {
      "ACS_in_halves": self._probe_in_halves(z),
      "breakdown": breakdown.measure(results, labels),
      "facts": facts.described(judged.answers()),
      "rows": {
        "groups": groups.bootstrap_groups(self.tables, judged.masks, self._zero_shot),
        **rows,
      },
      "examples": examples.retrieval_examples(
        z, self.tables, judged.gallery, self._pictures, self._release
      ),
    }
    return results

  def similarities(self, params: Mapping, split: str) -> np.ndarray:
    """(N,) cosines of the pairs of a judged split, in row order."""
    texts = self.tables[split]["text"]
    distinct, row = np.unique(texts, return_inverse=True)
    with progress.counting(f"similarities of {split}", len(texts) + len(distinct)) as tick:
      image = self._embed_images(params, self._pictures[split], tick)
      text = self.embed_texts(params, list(distinct), tick)
    return np.asarray(metrics.cosines(image, text[row]))

  def gallery_size(self) -> int:
    """The number of captions that RetFail ranks each image against, its own included."""
    return 1 + len(self.gallery())

  def gallery(self) -> np.ndarray:
    """The texts that RetFail ranks every image against."""
    return np.concatenate(self._draw_gallery(self.derived())[:2])

  def holdout_galleries(self) -> dict[str, int]:
    """{split: number of captions that each of its pictures is ranked among}, of holdouts."""
    generic = self._draw_gallery(self.derived())[1]
    ranked = [metric.split for metric in METRICS.values() if metric.measure == "holdout_ranks"]
    return {
      split: len(measures.holdout_gallery(self.tables[split]["text"], generic)) for split in ranked
    }

  def forget_ranks(self, params: Mapping) -> np.ndarray:
    """(N,) RetFail ranks of a model; only the texts and pictures that they need are embedded."""
    return self.ranks(self.embed_forget(params))

  def embed_forget(self, params: Mapping) -> Embedded:
    """Embeds the pictures of forget, their captions and the gallery, for `ranks`."""
    rows = self._pictures[_FORGET]
    texts = list(dict.fromkeys([*self.tables[_FORGET]["text"], *self.gallery()]))
    with progress.counting("retrieval of forget", len(texts) + len(rows)) as tick:
      table = self.embed_texts(params, texts, tick)
      image = self._embed_images(params, rows, tick)
    row_of = {text: row for row, text in enumerate(texts)}
    return Embedded({_FORGET: image}, (row_of, table), None)

  def general_knowledge(self, z: Embedded) -> float | None:
    """GenKnow, from embeddings of the zero-shot set; None if there is no such set."""
    hits = measures.zero_shot_hits(self._judged(z), ZERO_SHOT)
    return None if hits is None else reduce("mean", hits)

  def embed_zero_shot(self, params: Mapping) -> Embedded:
    """Embeds the zero-shot set, and keeps nothing in the folder."""
    passing = copy.copy(self)
    passing._kept, quiet = None, lambda count: None
    image = {}
    if self._zero_shot:
      numbers = np.arange(len(self._zero_shot.labels))
      image[ZERO_SHOT] = passing._embed_some(params, ZERO_SHOT, numbers, quiet)
    weights = passing._class_weights(params, quiet) if self._zero_shot else None
    return Embedded(image, ({}, np.zeros((0, 0), np.float32)), weights)

  def ranks(self, z: Embedded) -> np.ndarray:
    """(N,) RetFail ranks of forget, from a model's embeddings of the release."""
    return measures.retrieval_ranks(self._judged(z), _FORGET)

  def embed_pictures(
    self, params: Mapping, split: str, numbers: np.ndarray | None = None
  ) -> np.ndarray:
    """(N, D) of the pictures of a split; with `numbers`, NaN in all other rows."""
    numbers = np.arange(len(self._records[split])) if numbers is None else numbers
    with progress.counting(f"pictures of {split}", len(numbers)) as tick:
      return self._embed_some(params, split, numbers, tick)

  def derived(self) -> dict[str, tuple[str, np.ndarray]]:
    """The derived splits: name -> (split, (N,) bool)."""
    return derived.masks(self._release, self.tables)

  def _judged(self, z: Embedded) -> Judged:
    masks = self.derived()
    forget, generic, rng = self._draw_gallery(masks)
    return Judged(
      z,
      self._release,
      self.tables,
      masks,
      self._zero_shot,
      self._settings,
      gallery=np.concatenate([forget, generic]),
      generic=generic,
      rng=rng,
      answers=functools.cache(lambda: facts.answered(self.questions(), z)),
    )

  def questions(self) -> dict[str, dict[str, facts.Asked]]:
    """The questions about facts, the same for every model, see `facts.questions`."""
    settings = self._settings
    key = settings.seed, settings.facts, settings.rivals
    if key not in self._questions:
      self._questions[key] = facts.questions(self._release, self.tables, settings)
    return self._questions[key]

  def _draw_gallery(self, masks):
    """Texts of forget and of retain_disjoint, drawn without replacement; and the generator."""
    rng = np.random.RandomState(self._settings.seed)
    source, mask = masks["retain_disjoint"]
    pools = (self.tables[_FORGET]["text"], self.tables[source]["text"][mask])
    count = self._settings.gallery
    drawn = [pool[rng.choice(len(pool), min(count, len(pool)), replace=False)] for pool in pools]
    return *drawn, rng

  def _probe_in_halves(self, z: Embedded) -> float:
    """ACS without the bias of a row in both halves; see `metrics.association_probe_in_halves`."""
    captions = self.tables[_FORGET]["text"]
    return metrics.association_probe_in_halves(
      z.image[_FORGET],
      z.of(captions),
      measures.numbered(captions),
      np.random.default_rng(self._settings.seed),
      self._settings.probe,
    )

  def _class_weights(self, params, tick):
    words = [self._tokenizer.context_length, self._tokenizer.kept]
    about = [checkpoint.digest(params), words, self._zero_shot.classes, self._zero_shot.prompts]
    embed = lambda texts: self.embed_texts(params, texts, tick)
    make = lambda: class_weights.of(self._zero_shot, embed)
    return kept.array(self._place("class_weights", about), make)

  def _place(self, kind, about):
    """The file of a kept array, by all that it depends on."""
    if self._kept is None:
      return None
    # The activation is not a parameter, but changes the embeddings.
    name = files.digest([about, self._settings.compute_dtype, self._quick_gelu, self._size])
    return self._kept / f"{kind}-{name}.npy"

  def _all_texts(self, name_prompts):
    for table in self.tables.values():
      yield from table["text"]
    for order in measures.core_texts(self._release, self.tables[_FORGET]):
      yield from order
    for asked in self.questions().values():
      for part in asked.values():
        for sentences in part.texts:
          yield from sentences
    for prompt in name_prompts:
      yield from measures.naming_prompts(self._release, self._release.identities, prompt)

  def _rows_looked_at(self) -> dict[str, np.ndarray]:
    """{split: numbers of the rows whose pictures a metric uses}; others give texts alone."""
    masks = self.derived()
    measured = {metric.split for metric in METRICS.values()}
    looked_at = {}
    for split, rows in self._pictures.items():
      chosen = [masks[name][1] for name in measured & masks.keys() if masks[name][0] == split]
      whole = split in measured or not chosen
      looked_at[split] = np.arange(len(rows)) if whole else np.flatnonzero(np.any(chosen, axis=0))
    return {split: numbers for split, numbers in looked_at.items() if len(numbers)}

  def _embed_some(self, params, split, numbers, tick):
    """(N, D) of a split, NaN except in these rows; kept for the same image tower."""
    rows = self._pictures[ZERO_SHOT] if split == ZERO_SHOT else self._records[split]
    content = self._zero_shot.content if split == ZERO_SHOT else self._release.digest
    about = [checkpoint.digest(params, "visual"), content, split, files.digest(numbers.tolist())]
    make = lambda: self._embed_images(params, rows, tick, numbers)
    some = kept.array(self._place("images", about), make)
    table = np.full((len(rows), some.shape[1]), np.nan, np.float32)
    table[numbers] = some
    return table

  def _embed_images(self, params, rows, tick, numbers=None):
    """(N, D) of random-access rows, in their order; only of the rows `numbers`, if given."""
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

  def embed_texts(
    self,
    params: optax.Params,
    texts: Sequence[str],
    tick: Callable[[int], None] = lambda count: None,
  ) -> np.ndarray:
    """(N, D) of texts, in their order; tick(count) is called as they are done."""

    def encode(batch):
      whole = sharding.put_whole_batch(batch, self._mesh)
      return jax.device_get(self._texts(params, whole))

    size = self._settings.batch_size
    return embeddings.embed_texts(encode, self._tokenizer(texts), size, tick)
