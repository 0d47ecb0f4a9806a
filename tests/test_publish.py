"""Publishing a workdir to a folder and to a hub, and fetching it again; cards that others read."""

import copy
import json
import pathlib
import shutil

import pytest
import yaml
from fake_hub import serve
from ml_collections import ConfigDict
from modelfolders import FACTS, TINY, model_folder, params_of
from submissions import SMALL

from salmu_jax import defaults
from salmu_jax.data import releases
from salmu_jax.errors import InputError
from salmu_jax.generate import generator
from salmu_jax.interop import __main__ as command
from salmu_jax.interop import publish
from salmu_jax.results.lookup import flatten
from salmu_jax.runtime import files
from salmu_jax.runtime.workdir import write_done
from salmu_jax.train import checkpoint

MODELS = tuple(SMALL)


def front_matter(path):
  return yaml.safe_load(path.read_text().split("---\n")[1])


def digest(folder):
  return checkpoint.digest(params_of(folder, TINY))


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """A finished workdir with a release, three models and their results."""
  folder = tmp_path_factory.mktemp("finished")
  settings = ConfigDict(defaults.get_config().generate.to_dict())
  settings.update(people=10, images_per_person=8, retain_synth=40, retain_joint=4, scenes=30)
  settings.update(classes=10, zero_shot_images=2, image_size=32, workers=1, shard_rows=50)
  generator.generate(settings, 0, folder / "release")
  for name in MODELS:
    model = model_folder(
      folder / "models" / name, **({"method": name} if name == "finetune" else {})
    )
    result = copy.deepcopy(SMALL[name])
    result["salmu_jax"]["weights_sha256"] = digest(model)
    files.write_json(folder / "results" / f"{name}.json", result)
  files.write_text(folder / "leaderboard.md", "a table")
  files.write_text(folder / "notes.txt", "mine")
  return folder


@pytest.fixture(scope="module")
def published(workdir, tmp_path_factory):
  target = tmp_path_factory.mktemp("published") / "out"
  publish.publish(publish.plan(workdir, str(target)))
  return target


def test_a_fetched_workdir_has_the_release_the_bounds_and_their_results_to_the_bit(
  workdir, published, tmp_path
):
  publish.fetch(str(published), tmp_path / "new")
  before, now = (
    releases.open_release(folder / "release") for folder in (workdir, tmp_path / "new")
  )
  assert now.digest == before.digest
  for name in publish.BOUNDS:
    folders = [folder / "models" / name for folder in (workdir, tmp_path / "new")]
    assert digest(folders[0]) == digest(folders[1])
    for file in ("settings.json", "done.json", "tokenizer.json"):
      assert (folders[0] / file).read_text() == (folders[1] / file).read_text()
    results = [folder / "results" / f"{name}.json" for folder in (workdir, tmp_path / "new")]
    assert results[0].read_text() == results[1].read_text()
    assert "salmu_jax" not in files.read_json(tmp_path / "new" / "compat" / f"{name}.json")
  assert not (tmp_path / "new" / "models" / "finetune").exists()
  publish.fetch(str(published), tmp_path / "one", ("finetune",))
  assert [p.name for p in (tmp_path / "one" / "models").iterdir()] == ["finetune"]


def test_nothing_of_a_workdir_is_published_but_what_the_plan_names(published):
  assert sorted(p.name for p in published.iterdir()) == ["dataset", "models"]
  assert sorted(p.name for p in (published / "models").iterdir()) == sorted(MODELS)
  assert (published / "dataset" / "leaderboard" / "leaderboard.md").read_text() == "a table"
  assert not list(published.rglob("notes.txt"))


def test_the_command_writes_nothing_unless_it_is_told_to(workdir, tmp_path, capsys):
  assert command.main(["publish", str(workdir), f"--to={tmp_path / 'out'}"]) == 0
  assert "Nothing was written. Add --yes" in capsys.readouterr().out
  assert not list(tmp_path.iterdir())
  to = [f"--to={tmp_path / 'out'}", "--models=clean", "--yes"]
  assert command.main(["publish", str(workdir), *to]) == 0
  assert [p.name for p in (tmp_path / "out" / "models").iterdir()] == ["clean"]
  said = " ".join(capsys.readouterr().out.split())
  assert f"fetch {tmp_path / 'out'} WORKDIR" in said
  assert command.main(["publish", str(workdir), *to]) == 1
  assert "already exists" in capsys.readouterr().err


def test_what_cannot_be_published_or_fetched_is_named(workdir, published, tmp_path, capsys):
  def refused(*argv):
    assert command.main([*map(str, argv)]) == 1
    return capsys.readouterr().err

  (tmp_path / "empty").mkdir()
  assert "has no release of its own" in refused("publish", tmp_path / "empty", "--to=x")
  models = ["--to=x", "--models=mine"]
  assert "has no finished model 'mine'; it has clean" in refused("publish", workdir, *models)
  assert "is not a hub repository" in refused("publish", workdir, "--to=hub:me")
  assert "has no published.json" in refused("fetch", tmp_path / "empty", tmp_path / "new")
  other = ["--models=mine", published, tmp_path / "new"]
  assert "has no model 'mine'; it has clean" in refused("fetch", *other)
  assert "has a release already" in refused("fetch", published, workdir)
  said = refused("fetch", published, published / "new")
  assert f"lies in SOURCE = '{published}', which is only read" in said
  assert "WORKDIR = 'new[1]' has [ in its path" in refused("fetch", published, "new[1]")
  assert "--to = 'out*' has * in its path" in refused("publish", workdir, "--to=out*")
  assert not (tmp_path / "new").exists()


def test_a_damaged_copy_is_not_fetched(published, tmp_path):
  spoilt = tmp_path / "spoilt"
  shutil.copytree(published, spoilt)
  shutil.copytree(
    spoilt / "models" / "clean", spoilt / "models" / "compromised", dirs_exist_ok=True
  )
  result = spoilt / "dataset" / "results" / "compromised.json"
  content = files.read_json(result)
  content["salmu_jax"]["weights_sha256"] = "0" * 64
  result.write_text(json.dumps(content))
  with pytest.raises(InputError, match=r"has weights of SHA-256 .*, but its results are of 000"):
    publish.fetch(str(spoilt), tmp_path / "new")
  assert not (tmp_path / "new").exists()
  shard = next((spoilt / "dataset" / "data").glob("forget-*"))
  shutil.copyfile(next((spoilt / "dataset" / "data").glob("holdout_identity-*")), shard)
  with pytest.raises(InputError):
    publish.fetch(str(spoilt), tmp_path / "new", ("clean",))
  assert not (tmp_path / "new" / "release").exists()


def _without_efficacy(result):
  del result["efficacy"]


def _short_of_a_value(result):
  result["utility"]["2.2_InterIdSim"]["mean"] = "0.5"


@pytest.mark.parametrize("damage", [_without_efficacy, _short_of_a_value, None])
def test_results_that_are_not_whole_leave_nothing_of_a_workdir(damage, published, tmp_path):
  spoilt = tmp_path / "spoilt"
  shutil.copytree(published, spoilt)
  path = spoilt / "dataset" / "results" / "compromised.json"
  content = files.read_json(path)
  if damage:
    damage(content)
  path.write_text(json.dumps(content) if damage else path.read_text()[:-99])
  with pytest.raises(InputError, match=r"results/compromised\.json"):
    publish.fetch(str(spoilt), tmp_path / "new")
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  "part, changes, fault",
  [
    ("settings", {"seed": 5}, r"settings\.json has changed since it was written"),
    ("done", {"steps": 5}, r"done\.json has changed since it was written"),
    ("settings", {"model": {"preset": 3, "scan": False}}, "lacks the preset"),
  ],
)
def test_what_an_export_says_of_its_folder_is_checked(part, changes, fault, workdir, tmp_path):
  copy_ = tmp_path / "copy"
  shutil.copytree(workdir, copy_)
  write_done(copy_ / "models" / "clean", FACTS)
  publish.publish(publish.plan(copy_, str(tmp_path / "out"), ("clean",)))
  publish.fetch(str(tmp_path / "out"), tmp_path / "whole", ("clean",))
  folders = [folder / "models" / "clean" for folder in (copy_, tmp_path / "whole")]
  assert len({(folder / "done.json").read_text() for folder in folders}) == 1
  path = tmp_path / "out" / "models" / "clean" / "salmu_jax_stage.json"
  stage = files.read_json(path)
  files.write_json(path, {**stage, part: {**stage[part], **changes}})
  with pytest.raises(
    InputError, match=rf"model clean: .*salmu_jax_stage\.json is damaged: .*{fault}"
  ):
    publish.fetch(str(tmp_path / "out"), tmp_path / "new", ("clean",))
  assert not (tmp_path / "new").exists()


def test_the_hub_gets_a_repository_for_the_data_and_one_for_each_model(
  workdir, published, tmp_path, monkeypatch
):
  from huggingface_hub import constants, hf_api

  with serve({}) as fake:
    for module in (constants, hf_api):
      monkeypatch.setattr(module, "ENDPOINT", fake.endpoint, raising=False)
    where = fake.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", where)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "hf_made_up")
    address = publish.publish(publish.plan(workdir, "hub:me/small"), private=True)
    kinds = {name: repo.kind for name, repo in fake.repos.items()}
    assert kinds == {"me/small": "dataset"} | {f"me/small-{name}": "model" for name in MODELS}
    assert address == f"hub:me/small@{fake.repos['me/small'].revision}"
    # The same files as in a folder, but for the addresses and the links on the cards.
    linked = ("README.md", "published.json")
    for repo, folder in (("me/small", "dataset"), ("me/small-clean", "models/clean")):
      files_there = {p: c for p, c in fake.repos[repo].files.items() if p not in linked}
      paths = (p for p in (published / folder).rglob("*") if p.is_file())
      here = {p.relative_to(published / folder).as_posix(): p.read_bytes() for p in paths}
      assert files_there == {p: c for p, c in here.items() if p not in linked}
    card = yaml.safe_load(fake.repos["me/small-finetune"].files["README.md"].split(b"---\n")[1])
    assert card["base_model"] == "me/small-compromised" and card["datasets"] == ["me/small"]
    publish.fetch(address, tmp_path / "new", ("compromised",))
  folders = (folder / "models" / "compromised" for folder in (workdir, tmp_path / "new"))
  assert len({digest(folder) for folder in folders}) == 1


def test_a_model_card_has_the_results_block_that_the_hub_reads(published):
  card = front_matter(published / "models" / "finetune" / "README.md")
  assert "base_model" not in card  # a folder has no addresses
  (entry,) = card["model-index"]
  metrics = {m["type"]: m["value"] for r in entry["results"] for m in r["metrics"]}
  expected = {k: v for k, v in flatten(SMALL["finetune"]).items() if v is not None}
  assert metrics == pytest.approx(expected) and entry["name"] == "finetune"


def test_a_publication_that_was_interrupted_is_made_anew(workdir, tmp_path, monkeypatch):
  parts = publish.plan(workdir, str(tmp_path / "out"), ("clean",))
  with monkeypatch.context() as patch:
    patch.setattr(publish, "_stage_dataset", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
      publish.publish(parts)
  assert not list(tmp_path.iterdir())
  publish.publish(parts)
  publish.fetch(str(tmp_path / "out"), tmp_path / "new", ("clean",))
  # A workdir that was fetched can be published again, with one list of models.
  publish.publish(publish.plan(tmp_path / "new", str(tmp_path / "again")))
  assert (tmp_path / "again" / "dataset" / "README.md").read_text().count("## Models") == 1


def test_fetching_goes_on_after_a_kill_and_refuses_another_model_in_the_place(
  workdir, published, tmp_path, monkeypatch
):
  with monkeypatch.context() as patch:
    patch.setattr(publish.lookup, "compat", lambda result: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
      publish.fetch(str(published), tmp_path / "new")
  publish.fetch(str(published), tmp_path / "new")
  assert (tmp_path / "new" / "results" / "clean.json").exists()
  other = model_folder(tmp_path / "other" / "models" / "clean", "vit_b16_narrow")
  with pytest.raises(InputError, match="is another model than the model clean"):
    publish.fetch(str(published), tmp_path / "other")
  assert other.exists()


def test_an_unfinished_run_is_not_published(workdir, tmp_path):
  copy_ = tmp_path / "copy"
  shutil.copytree(workdir, copy_)
  (copy_ / "results" / "clean.json").unlink()
  with pytest.raises(InputError, match=r"has no results of 'clean'\. Let its run finish first"):
    publish.plan(copy_, str(tmp_path / "out"))
  shutil.rmtree(copy_ / "models")
  with pytest.raises(InputError, match=r"has no finished model\. Let its run finish first"):
    publish.plan(copy_, str(tmp_path / "out"))


def test_a_repository_that_holds_something_else_is_not_emptied(monkeypatch):
  part = publish.Part("dataset", "", "me/photos", pathlib.Path("x"), 1)
  for there, answer in (
    (None, None),
    ([], 0),
    ([".gitattributes", "README.md"], 2),
    (["published.json", "data/x"], 2),
  ):
    monkeypatch.setattr(publish.hub, "listed", lambda repo, kind, there=there: there)
    assert publish.replaced(part) == answer
  monkeypatch.setattr(publish.hub, "listed", lambda repo, kind: ["mine.txt"])
  with pytest.raises(InputError, match="me/photos on the hub holds something else"):
    publish.replaced(part)


@pytest.mark.parametrize("content", ["[]", "{}", '{"models": {"clean": 3}}', "{"])
def test_a_damaged_index_is_named(content, published, tmp_path):
  spoilt = tmp_path / "spoilt"
  shutil.copytree(published, spoilt)
  (spoilt / "dataset" / publish.INDEX).write_text(content)
  with pytest.raises(InputError, match=r"published\.json"):
    publish.fetch(str(spoilt), tmp_path / "new")
  (spoilt / "dataset" / publish.INDEX).write_text('{"models": {"clean": "models/clean"}}')
  (spoilt / "models" / "clean" / "salmu_jax_stage.json").write_text("{}")
  with pytest.raises(InputError, match=r"salmu_jax_stage\.json is damaged"):
    publish.fetch(str(spoilt), tmp_path / "new", ("clean",))


def test_a_licence_is_stated_only_of_what_was_trained_here_and_no_path_is_published(
  workdir, tmp_path
):
  copy_ = tmp_path / "copy"
  shutil.copytree(workdir, copy_)
  folder = copy_ / "models" / "compromised"
  settings, done = (files.read_json(folder / name) for name in ("settings.json", "done.json"))
  files.write_json(folder / "settings.json", {**settings, "imported": {"sha256": "0"}})
  weights = {"source": "/home/me/secret/clip", "layout": "openclip", "sha256": "0"}
  files.write_json(folder / "done.json", {**done, "weights": weights})
  publish.publish(publish.plan(copy_, str(tmp_path / "out")))
  models = tmp_path / "out" / "models"
  for name in ("compromised", "finetune"):
    assert "license" not in front_matter(models / name / "README.md")
  for file in (models / "compromised").iterdir():
    assert b"/home/me" not in file.read_bytes()


def test_a_dataset_card_says_what_a_release_holds_and_how_it_was_made(published):
  folder = published / "dataset"
  card, manifest = front_matter(folder / "README.md"), files.read_json(folder / "manifest.json")
  assert card["license"] == "cc-by-sa-4.0" and card["size_categories"] == ["n<1K"]
  counted = {s["name"]: s["num_examples"] for s in card["dataset_info"]["splits"]}
  assert counted == manifest["counts"]
  assert {"name": "image", "dtype": "image"} in card["dataset_info"]["features"]
  listed = {part["split"]: part["path"] for part in card["configs"][0]["data_files"]}
  assert set(listed) == set(manifest["counts"])
  assert all(list(folder.glob(pattern)) for pattern in listed.values())
  text = (folder / "README.md").read_text()
  for words in ("| seed | 0 |", "| `people` | 10 |", "fictitious", "OpenMoji", "evaluation alone"):
    assert words in text, words


def test_croissant_names_every_file_with_its_hash_and_every_split_with_its_columns(published):
  folder = published / "dataset"
  croissant = files.read_json(folder / "croissant.json")
  manifest = files.read_json(folder / "manifest.json")
  parts = croissant["distribution"]
  hashed = {part["contentUrl"]: part["sha256"] for part in parts if "sha256" in part}
  assert hashed == manifest["files"]
  sets = {part["@id"]: part["includes"] for part in parts if part["@type"] == "cr:FileSet"}
  assert set(sets) == set(manifest["counts"])
  for records in croissant["recordSet"]:
    split = records["@id"].removeprefix("rows_")
    columns = [field["source"]["extract"]["column"] for field in records["field"]]
    assert columns == ["image", "text", "identity_id", "file_name"]
    assert {field["source"]["fileSet"]["@id"] for field in records["field"]} == {split}
    assert list(pathlib.Path(folder).glob(sets[split]))
