"""A generated release: reproducible, in the published format, private values where they belong."""

import collections
import shutil

import numpy as np
import pytest

from configs import smoke
from salmu_jax.benchmark import opening
from salmu_jax.data import derived, images, releases
from salmu_jax.errors import InputError
from salmu_jax.generate import generator, personas, plan
from salmu_jax.results import splits
from salmu_jax.runtime import files


def settings(**changes):
  config = smoke.get_config().generate
  small = dict(people=12, retain_synth=40, retain_joint=9, scenes=30, classes=5, zero_shot_images=2)
  config.update(**small, image_size=32, shard_rows=30)
  config.update(changes)
  return config


@pytest.fixture(scope="module")
def release(tmp_path_factory):
  path = tmp_path_factory.mktemp("made") / "release"
  generator.generate(settings(), 5, path)
  return releases.open_release(path)


def test_workers_and_restarts_do_not_change_a_single_hash(release, tmp_path, monkeypatch):
  writes = []
  write_shard = generator._write_shard

  def dying(file, rows):
    writes.append(file)
    if len(writes) == 4:
      raise KeyboardInterrupt
    write_shard(file, rows)

  monkeypatch.setattr(generator, "_write_shard", dying)
  with pytest.raises(KeyboardInterrupt):
    generator.generate(settings(), 5, tmp_path / "release")
  assert not (tmp_path / "release").exists()
  monkeypatch.setattr(generator, "_write_shard", write_shard)
  generator.generate(settings(workers=2), 5, tmp_path / "release")
  again = files.read_json(tmp_path / "release" / "manifest.json")
  assert again["files"] == release.manifest["files"]
  assert files.sha256(tmp_path / "release" / "manifest.json") == release.digest


def test_another_seed_gives_another_release(release, tmp_path):
  generator.generate(settings(), 6, tmp_path / "release")
  other = files.read_json(tmp_path / "release" / "manifest.json")["files"]
  shared = {f for f in other if other[f] == release.manifest["files"].get(f)}
  assert shared == {"zero_shot.json"}


def test_leftovers_of_other_settings_are_not_gone_on_with(release, tmp_path, monkeypatch):
  def die(*args):
    raise KeyboardInterrupt

  with monkeypatch.context() as patched:
    patched.setattr(generator, "_write_texts", die)
    with pytest.raises(KeyboardInterrupt):
      generator.generate(settings(portrait_nuisance=0.0), 5, tmp_path / "release")
  generator.generate(settings(), 5, tmp_path / "release")
  assert files.sha256(tmp_path / "release" / "manifest.json") == release.digest


def test_the_manifest_lists_every_file_with_its_true_hash(release):
  releases.verify(release)
  present = {str(f.relative_to(release.path)) for f in release.path.rglob("*") if f.is_file()}
  apart = {"manifest.json", "README.md", "croissant.json"}  # which say what a release is
  assert present == set(release.manifest["files"]) | apart
  assert release.manifest["seed"] == 5
  assert release.manifest["generator"].startswith("salmu_jax ")
  assert release.manifest["counts"] == release.counts


def test_counts_are_those_asked_for(release):
  counts = release.counts
  assert counts["sensitive"] == 12 * 8
  assert counts["forget"] + counts["holdout_association"] + counts["holdout_identity"] == 12 * 8
  assert (counts["retain_synth"], counts["retain_real"], counts["zero_shot"]) == (40, 30, 10)


def test_the_sensitive_splits_part_the_sensitive_set(release):
  names = list(releases.columns(release, "sensitive")["file_name"])
  parts = [n for s in splits.sensitive() for n in releases.columns(release, s)["file_name"]]
  assert sorted(parts) == sorted(names)
  by_name = {r["file_name"]: r for r in releases.rows(release, "sensitive")}
  for row in releases.rows(release, "forget"):
    assert row == by_name[row["file_name"]]


def test_a_quarter_is_forgotten_a_quarter_held_out_and_half_partly(release):
  people = {s: set(releases.columns(release, s)["identity_id"]) for s in splits.sensitive()}
  assert len(people["holdout_identity"]) == 3
  assert len(people["holdout_association"]) == 6
  assert len(people["forget"]) == 9
  assert people["holdout_association"] < people["forget"]
  assert not people["holdout_identity"] & people["forget"]


def facts(release, split):
  table = releases.columns(release, split)
  return {
    (identity, release.captions[name]["data_field"])
    for identity, name in zip(table["identity_id"], table["file_name"], strict=True)
  }


def test_with_the_unit_fact_no_fact_is_on_both_sides(release):
  assert not facts(release, "forget") & facts(release, "holdout_association")


def test_with_the_unit_pair_facts_are_on_both_sides_as_in_the_released_data():
  config, seed = settings(holdout_unit="pair", images_per_person=32), 5
  cast = plan.draw_cast(config, seed)
  sides = collections.defaultdict(set)
  for row in plan.sensitive_rows(config, seed, cast):
    if cast.groups[row.person] == "association":
      sides[row.person, row.field].add(plan.split_of(config, seed, cast, row))
  shared = [fact for fact, splits_of_fact in sides.items() if len(splits_of_fact) == 2]
  assert len(shared) > len(sides) / 2


def test_fields_are_equally_frequent_and_captions_hold_name_and_value(release):
  table = releases.columns(release, "sensitive")
  fields = collections.Counter(release.captions[n]["data_field"] for n in table["file_name"])
  assert set(fields) == set(personas.FIELDS) and set(fields.values()) == {12}
  named = []
  for name, text, identity in zip(
    table["file_name"], table["text"], table["identity_id"], strict=True
  ):
    person, caption = release.identities[identity], release.captions[name]
    assert caption["caption"] == text
    assert caption["value"] in text
    assert person[caption["data_field"]] == caption["value"]
    named.append(person["name"] in text)
  assert 0.5 < np.mean(named) < 0.9  # of config.generate.nameless


def test_no_caption_of_retain_and_no_generic_one_holds_a_name_or_a_private_value(release):
  texts = [*release.generic.values()]
  for split in ("retain_synth", "retain_real", "zero_shot"):
    texts += list(releases.columns(release, split)["text"])
  # Whole-word search: a blood type is two letters long, and a job may be a word of a scene.
  words = [f" {text} ".replace(",", " ").replace(".", " ").casefold() for text in texts]
  # All people that were drawn, the strangers of retain_synth included.
  for person in plan.draw_cast(settings(), 5).people:
    private = [person.name, *(v for f, v in person.facts.items() if f not in ("job",))]
    for value in private:
      assert not any(f" {value.casefold()} " in text for text in words), value


def test_file_names_say_identity_image_and_aspect(release):
  for split in ("sensitive", "retain_synth"):
    for row in releases.rows(release, split):
      stem, aspect = row["file_name"].removesuffix(".jpg").split("_ar-")
      person, image = stem.split("_")
      assert len(person) == 8 and len(image) == 3
      assert row["identity_id"] in ("", person)
      width, height = images.decode(row["image"], "row").size
      assert min(width, height) == 32
      assert abs(width / height - float(aspect)) < 0.02


def test_derived_splits_have_members(release):
  tables = {s: releases.columns(release, s) for s in splits.judged()}
  masks = derived.masks(release, tables)
  assert masks["retain_joint"][1].sum() == 9
  assert masks["retain_disjoint"][1].sum() == 31
  strangers = set(tables["holdout_identity"]["identity_id"])
  joint = tables["retain_synth"]["identity_id"][masks["retain_joint"][1]]
  assert not strangers & set(joint)


@pytest.mark.parametrize(
  "changes, message",
  [
    ({"people": 3}, r"generate\.people = 3; it must be a whole number of at least 8"),
    ({"images_per_person": 4}, r"images_per_person = 4; it must be a whole number of at least 8"),
    ({"retain_synth": 15}, r"retain_synth = 15 is too small"),
    ({"images_per_person": 1000}, "three digits"),
    ({"holdout_unit": "person"}, r"holdout_unit: unknown name 'person'"),
    ({"classes": 5000}, "5000"),
  ],
)
def test_impossible_settings_are_refused_before_anything_is_written(changes, message, tmp_path):
  with pytest.raises(InputError, match=message):
    generator.generate(settings(**changes), 0, tmp_path / "release")
  assert not list(tmp_path.iterdir())


def test_a_full_disk_is_found_before_rendering(tmp_path, monkeypatch):
  usage = collections.namedtuple("usage", "total used free")
  monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage(10, 9, 1))
  with pytest.raises(InputError, match=r"Not enough disk space.*the generated release"):
    generator.generate(settings(), 0, tmp_path / "release")
  assert not list(tmp_path.iterdir())


def test_a_run_generates_its_release_again_where_it_was_deleted_and_misses_its_manifest(tmp_path):
  config = smoke.get_config()
  config.seed, config.generate = 5, settings()
  opened = lambda: opening.open_release(config, tmp_path, tmp_path / "scratch")
  digest, path = opened().digest, tmp_path / "release"
  for is_fetched in (False, True):
    if is_fetched:  # with a release, and without the mark of having generated it
      shutil.rmtree(tmp_path / "generate")
    manifest = (path / "manifest.json").read_bytes()
    (path / "manifest.json").unlink()
    with pytest.raises(
      InputError, match=r"release/manifest\.json is missing; .* delete .*/release: "
    ):
      opened()
    (path / "manifest.json").write_bytes(manifest)
    assert opened().digest == digest
  shutil.rmtree(path)
  assert opened().digest == digest
