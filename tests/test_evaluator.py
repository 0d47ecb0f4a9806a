"""The ten metrics of a whole model against numpy loops over its embeddings."""

import json
import pathlib

import jax
import numpy as np
import pytest
from handmade import jpeg, write
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.published import readings
from salmu_jax import defaults
from salmu_jax.data import imagenet, images, pipeline, records, releases, tokenizers, zero_shot
from salmu_jax.evaluate import class_weights, measures, metrics
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.models import clip
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.results import lookup, splits
from salmu_jax.results.lookup import rows_at
from salmu_jax.results.metrics_table import METRICS
from salmu_jax.runtime import sharding
from salmu_jax.train import checkpoint

SETTINGS = defaults.get_config().evaluate
SETTINGS.update(gallery=7, batch_size=8)


class World:
  """A handmade release with its fragile set, a random model, and its evaluator on some devices."""

  def __init__(self, folder, devices=1, zero_shot_set=None, **changes):
    self.release = releases.open_release(write(folder / "release", **changes))
    table = releases.columns(self.release, "retain_synth")
    releases.write_fragile(self.release, table["file_name"][1:], np.arange(20.0))
    self.records = records.build(self.release, folder / "records")
    self.words = tokenizers.compact_tokenizer(16, ["a picture of a cat"])
    sizes = Sizes(8, 16, 8, Tower(12, 1, 3), Tower(8, 1, 2), 16, self.words.vocab_size)
    self.model = CLIP(sizes)
    self.params = jax.jit(lambda: clip.init(self.model, 1))()
    apply = lambda method: jax.jit(lambda p, x: self.model.apply({"params": p}, x, method=method))
    self._encode_image, self._encode_text = apply(CLIP.encode_image), apply(CLIP.encode_text)
    mesh = sharding.make_mesh(jax.devices()[:devices])
    self.kept = folder / "kept"
    self.evaluator = Evaluator(
      self.model,
      self.release,
      self.records,
      self.words,
      SETTINGS,
      mesh,
      kept=self.kept,
      zero_shot_set=zero_shot_set or zero_shot.of_release(self.release, self.records),
    )

  def images(self, split):
    rows = releases.rows(self.release, split)
    pixels = [images.resize_and_crop(images.decode(r["image"], "row"), 16) for r in rows]
    z = self._encode_image(self.params, images.normalise(np.stack(pixels)))
    return np.asarray(z, np.float64)

  def texts(self, texts):
    return np.asarray(self._encode_text(self.params, self.words(list(texts))), np.float64)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
  return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def results(world):
  return world.evaluator.run(world.params)


def pair_cosines(world, split):
  table = releases.columns(world.release, split)
  return np.sum(world.images(split) * world.texts(table["text"]), axis=1)


def test_similarities_are_the_pairs_cosines_in_row_order(world, results):
  utility = results["utility"]
  retain = pair_cosines(world, "retain_synth")
  expected = {
    "2.2_InterIdSim": pair_cosines(world, "holdout_identity"),
    "2.3_IntraIdSim": pair_cosines(world, "holdout_association"),
    "2.4_VisIdInt": retain[:1],
    "2.5_FragSim": retain[1:3],
  }
  for name, values in expected.items():
    np.testing.assert_allclose(utility[name]["scores"], values, atol=2e-6)
    np.testing.assert_allclose(utility[name]["mean"], values.mean(), atol=2e-6)
  forget = results["efficacy"]["1.2_AssocStr"]
  np.testing.assert_allclose(forget["scores"], pair_cosines(world, "forget"), atol=2e-6)


def test_a_model_of_cudnns_attention_is_judged_by_the_plain_one(world, results):
  judge = Evaluator(
    world.model.clone(attention="cudnn"),  # which does not run on a CPU
    world.release,
    world.records,
    world.words,
    SETTINGS,
    sharding.make_mesh(jax.devices()[:1]),
    kept=None,
    zero_shot_set=None,
  )
  expected = results["efficacy"]["1.2_AssocStr"]["scores"]
  np.testing.assert_allclose(judge.similarities(world.params, "forget"), expected, atol=1e-6)


def test_retrieval_ranks_equal_loops_over_the_drawn_gallery(world, results):
  table = releases.columns(world.release, "forget")
  retain = releases.columns(world.release, "retain_synth")["text"][1:]
  # As the released evaluator draws: numpy's global generator, seeded once, forget before retain.
  np.random.seed(42)  # noqa: NPY002
  gallery = [*np.random.choice(table["text"], 7, replace=False)]  # noqa: NPY002
  gallery += [*np.random.choice(retain, 7, replace=False)]  # noqa: NPY002
  vectors = dict(zip(gallery, world.texts(gallery), strict=True))
  own = world.texts(table["text"])
  ranks = []
  for i, image in enumerate(world.images("forget")):
    others = [vectors[t] for t in gallery if t != table["text"][i]]
    ranks.append(sum(image @ v >= image @ own[i] - metrics.TIE for v in others))
  retrieval = results["efficacy"]["1.1_RetFail"]
  assert retrieval["outcomes"] == ranks
  assert retrieval["R@1"] == np.mean(np.array(ranks) == 0)
  np.testing.assert_allclose(retrieval["MRR"], np.mean(1 / (1 + np.array(ranks))))
  assert world.evaluator.gallery_size() == 15


@pytest.mark.parametrize(
  "split, id",
  [("holdout_identity", "2.6_InterIdRet"), ("holdout_association", "2.7_IntraIdRet")],
)
def test_holdout_ranks_equal_loops_over_the_splits_captions_and_the_generic_ones(
  world, results, split, id
):
  captions = releases.columns(world.release, split)["text"]
  retain = releases.columns(world.release, "retain_synth")["text"][1:]
  rng = np.random.RandomState(42)
  rng.choice(len(world.evaluator.tables["forget"]["text"]), 7, replace=False)
  gallery = [*sorted(set(captions)), *retain[rng.choice(len(retain), 7, replace=False)]]
  vectors = dict(zip(gallery, world.texts(gallery), strict=True))
  ranks = []
  for own, image in zip(captions, world.images(split), strict=True):
    least = image @ vectors[own] - metrics.TIE
    ranks.append(sum(image @ vectors[text] >= least for text in gallery if text != own))
  found = results["salmu_jax"]["additional"]["metrics"][id]
  assert found["ranks"] == ranks
  assert found["R@1"] == np.mean(np.array(ranks) == 0)
  np.testing.assert_allclose(found["MRR"], np.mean(1 / (1 + np.array(ranks))))
  assert world.evaluator.holdout_galleries()[split] == len(gallery)


def test_facts_are_in_the_results_with_the_rows_that_were_asked(world, results):
  asked = world.evaluator.questions()
  for key, split in (("FactLeak", "forget"), ("InterFactKept", "holdout_identity")):
    for wording, part in asked[split].items():
      metric = METRICS[f"{key}_{wording}"]
      assert rows_at(results, metric.cases) == part.rows.tolist()
      image = world.images(split)[part.rows]
      reciprocal = []
      for picture, texts in zip(image, part.texts, strict=True):
        true, *others = world.texts(texts) @ picture
        above = sum(other > true + metrics.TIE for other in others)
        ties = sum(abs(other - true) <= metrics.TIE for other in others)
        reciprocal.append(np.mean(1 / np.arange(1 + above, 2 + above + ties)))
      np.testing.assert_allclose(rows_at(results, metric.rows), reciprocal)
      assert rows_at(results, metric.path) == pytest.approx(np.mean(reciprocal))
  facts = results["salmu_jax"]["additional"]["facts"]["forget"]["new"]
  assert len(facts["margins"]) == len(asked["forget"]["new"].rows)
  fields = results["salmu_jax"]["additional"]["breakdown"]["forget"]["field"]
  assert sum(part["fact_rows"] for part in fields.values()) == len(facts["margins"])


def test_the_probe_goes_on_with_the_gallerys_generator(world, results):
  table = releases.columns(world.release, "forget")
  image, text = world.images("forget"), world.texts(table["text"])
  np.random.seed(42)  # noqa: NPY002
  np.random.permutation(12), np.random.permutation(20)  # noqa: NPY002
  x = np.concatenate([image * text, image * text[np.random.permutation(12)]])  # noqa: NPY002
  y = np.arange(24) < 12
  train_x, test_x, train_y, test_y = train_test_split(
    x.astype(np.float32), y, test_size=0.5, stratify=y
  )
  probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(train_x, train_y)
  assert results["efficacy"]["1.3_ACS"]["acs_accuracy"] == probe.score(test_x, test_y)
  assert 0 <= results["salmu_jax"]["additional"]["ACS_in_halves"] <= 1


@pytest.mark.parametrize("candidates, people", [("forget", range(4)), ("all", range(6))])
def test_naming_may_choose_among_more_people(world, candidates, people):
  settings = SETTINGS.copy_and_resolve_references()
  settings.name_candidates = candidates
  z = world.evaluator.embed(world.params)
  naming = world.evaluator.with_settings(settings).score(z)["efficacy"]["1.4_IdZSC"]
  prompts = world.texts([f"a photo of Person {p}" for p in people])
  hits = [
    np.argmax(prompts @ image) == i // 4 for i, image in enumerate(world.images("forget")[:8])
  ]
  assert naming["identity_classification_accuracy"] == np.mean(hits)


def test_the_study_of_readings_scores_each_from_one_embedding(world, results):
  values = readings.measure(world.evaluator, SETTINGS, world.params)
  assert len(values) == len(readings.readings()) == 15
  scores = dict(zip(map(str, readings.readings()), values, strict=True))
  flat = lookup.flatten(results)
  for metric in readings.OPEN:
    (first, *_) = [reading for reading in readings.readings() if reading[0] == metric]
    assert scores[str(first)] == flat[metric]
    assert all(SETTINGS[field] == value for field, value in first[1].items() if "." not in field)
  prompt = {"name_candidates": "all", "name_prompt": "{}"}
  hits = world.texts([f"Person {p}" for p in range(6)]) @ world.images("forget")[:8].T
  expected = np.mean(hits.argmax(axis=0) == np.arange(8) // 4)
  assert scores[str(("IdZSC", prompt))] == expected


def test_images_and_class_weights_are_embedded_once_a_checkpoint(world, results, monkeypatch):
  kept = {file: file.stat().st_mtime_ns for file in world.kept.iterdir()}
  embedded = []
  monkeypatch.setattr(
    class_weights,
    "prompts",
    lambda source, whole=class_weights.prompts: embedded.append(1) or whole(source),
  )
  assert world.evaluator.run(world.params) == results
  assert {file: file.stat().st_mtime_ns for file in world.kept.iterdir()} == kept
  calls = len(embedded)
  world.evaluator.run(jax.tree.map(lambda x: x * 1.01, world.params))
  assert len(embedded) == 2 * calls + 1  # The count for the bar each time, the embedding once more.
  assert len(list(world.kept.iterdir())) == 2 * len(kept)


def test_a_model_with_the_image_tower_of_another_embeds_no_picture(world, results, monkeypatch):
  refuse = lambda *args, **kwargs: pytest.fail("a picture was embedded")
  monkeypatch.setattr(world.evaluator, "_embed_images", refuse)
  text = jax.tree.map(lambda x: x * 1.01, world.params["text"])
  other = world.evaluator.run({**world.params, "text": text})
  assert other["efficacy"] != results["efficacy"]
  pictures = world.evaluator.embed_pictures(world.params, "forget")
  np.testing.assert_allclose(pictures, world.images("forget"), atol=1e-6)


def test_a_checkpoints_digest_is_of_its_weights_whatever_their_layout(world):
  same = checkpoint.digest(world.params)
  assert same == checkpoint.digest(clip.stack_layers(world.params))
  assert same != checkpoint.digest(jax.tree.map(lambda x: x + 1e-7, world.params))


def test_core_association_is_the_better_of_both_orders(world, results):
  table = releases.columns(world.release, "forget")
  expected = []
  for image, identity, name in zip(
    world.images("forget"), table["identity_id"], table["file_name"], strict=True
  ):
    person = world.release.identities[identity]
    value = person[world.release.captions[name]["data_field"]]
    both = world.texts([f"{person['name']} {value}", f"{value} {person['name']}"])
    expected.append(max(both @ image))
  np.testing.assert_allclose(results["efficacy"]["1.5_CoreAssoc"]["scores"], expected, atol=2e-6)


def test_of_several_addresses_the_one_in_the_caption_is_the_leak(tmp_path):
  world = World(tmp_path)
  people = {
    identity: {**person, "emails": ["first@x.example", person["emails"]]}
    for identity, person in world.release.identities.items()
  }
  people["00000000"]["emails"] = ["first@x.example", "second@x.example"]
  people["00000001"]["emails"] = ["13", "v13", "3"]
  release = world.release._replace(identities=people)
  evaluator = Evaluator(
    world.model,
    release,
    world.records,
    world.words,
    SETTINGS,
    sharding.make_mesh(jax.devices()[:1]),
    kept=world.kept,
    zero_shot_set=None,
  )
  table = releases.columns(world.release, "forget")
  leaks = dict(
    zip(
      table["file_name"], measures.core_texts(release, evaluator.tables["forget"])[0], strict=True
    )
  )
  # Person 1's caption names its own address; person 0's none of the listed ones.
  assert leaks["00000103_000_ar-1.00.jpg"] == "Person 1 v13"
  assert leaks["00000003_000_ar-1.00.jpg"] == "Person 0 first@x.example"


def test_naming_ranks_the_people_of_forget_identity_among_themselves(world, results):
  prompts = world.texts([f"a photo of Person {p}" for p in range(2)])
  shown = world.images("forget")[:8]
  hits = [np.argmax(prompts @ image) == i // 4 for i, image in enumerate(shown)]
  assert results["efficacy"]["1.4_IdZSC"]["identity_classification_accuracy"] == np.mean(hits)


def test_general_knowledge_averages_the_prompts_of_a_class(world, results):
  weights = []
  for name in ("cat", "dog"):
    mean = world.texts([f"a photo of a {name}", f"one {name}"]).mean(axis=0)
    weights.append(mean / np.linalg.norm(mean))
  hits = [
    np.argmax(np.stack(weights) @ image) == i % 2
    for i, image in enumerate(world.images("zero_shot"))
  ]
  assert results["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] == np.mean(hits)


def test_general_knowledge_is_measured_on_a_given_imagenet_instead(tmp_path):
  table = json.loads(pathlib.Path(imagenet.__file__).with_suffix(".json").read_text())
  shown = []
  for label in (3, 207, 980):
    folder = tmp_path / "imagenet" / table["wnids"][label]
    folder.mkdir(parents=True)
    for number in range(3):
      (folder / f"{number}.JPEG").write_bytes(jpeg(10 * label + number, (20, 31)))
      shown.append((folder / f"{number}.JPEG", label))
  source = imagenet.open_source(f"imagefolder:{tmp_path / 'imagenet'}")
  # Four of the thousand classes and two of the eighty prompts, for the sake of time.
  kept = [3, 207, 500, 980]
  few = source._replace(
    classes=tuple(table["classes"][i] for i in kept),
    prompts=source.prompts[:2],
    labels=np.array([kept.index(i) for i in source.labels], np.int32),
  )
  world = World(tmp_path, zero_shot_set=few)
  accuracy = world.evaluator.run(world.params)["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"]
  weights = np.stack(
    [world.texts([p.format(c) for p in few.prompts]).mean(axis=0) for c in few.classes]
  )
  weights /= np.linalg.norm(weights, axis=1, keepdims=True)
  hits = []
  for file, label in shown:
    pixels = images.resize_and_crop(images.decode(file.read_bytes(), "picture"), 16)
    z = world._encode_image(world.params, images.normalise(pixels[None]))[0]
    hits.append(np.argmax(weights @ z) == kept.index(label))
  assert accuracy == np.mean(hits)


def test_every_model_gets_the_same_draws(world, results):
  assert world.evaluator.run(world.params) == results


def test_eight_devices_judge_as_one_does(tmp_path, results):
  eight = World(tmp_path, devices=8)
  again = eight.evaluator.run(eight.params)
  for key, value in lookup.flatten(results).items():
    np.testing.assert_allclose(lookup.flatten(again)[key], value, atol=1e-6)
  assert again["efficacy"]["1.1_RetFail"] == results["efficacy"]["1.1_RetFail"]


def test_without_a_zero_shot_split_general_knowledge_is_reported_missing(tmp_path):
  bare = World(tmp_path, rows={"zero_shot": None})
  results = bare.evaluator.run(bare.params)
  assert results["utility"]["2.1_GenKnow"]["ImageNet1k_Accuracy"] is None
  assert lookup.flatten(results)["GenKnow"] is None


def test_a_collapsed_model_retrieves_and_names_nothing(world):
  flat = jax.tree.map(lambda x: x * 0, world.params)
  # Constant, non-zero embeddings: only the last normalisation's bias is left.
  for tower, norm, size in (("visual", "ln_post", 12), ("text", "ln_final", 8)):
    flat[tower][norm]["bias"] = np.ones(size, np.float32)
  flat["visual"]["proj"] = np.ones((12, 8), np.float32)
  flat["text"]["text_projection"] = np.ones((8, 8), np.float32)
  results = lookup.flatten(world.evaluator.run(flat))
  assert results["RetFail_R@1"] == results["IdZSC"] == results["GenKnow"] == 0.0
  assert results["InterIdRet_R@1"] == results["IntraIdRet_R@1"] == 0.0
  assert results["FactLeak_new_pairs"] == results["InterFactKept_own_pairs"] == 0.5
  np.testing.assert_allclose(results["AssocStr"], 1.0, atol=1e-6)


def test_evaluation_holds_embeddings_and_one_batch_of_pictures(world, monkeypatch):
  sizes = []
  whole = pipeline.evaluation_images

  def watched(rows, **settings):
    for pixels, valid in whole(rows, **settings):
      sizes.append(len(pixels))
      yield pixels, valid

  monkeypatch.setattr(pipeline, "evaluation_images", watched)
  world.evaluator.run(jax.tree.map(lambda x: x * 1.02, world.params))
  assert set(sizes) == {8}
  counts = {s: n for s, n in world.release.counts.items() if s in (*splits.judged(), "zero_shot")}
  masks = world.evaluator.derived()
  looked_at = masks["retain_joint"][1] | masks["fragile_set"][1]
  assert 0 < looked_at.sum() < counts["retain_synth"]
  counts["retain_synth"] = looked_at.sum()  # of the others, no metric looks at the picture
  assert len(sizes) == sum(-(-n // 8) for n in counts.values())
  image = world.evaluator.embed(world.params).image["retain_synth"]
  np.testing.assert_array_equal(np.isnan(image).any(axis=1), ~looked_at)
