"""The reader names and refuses damaged releases, and streams whole ones."""

import hashlib
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from handmade import SCHEMA, row, splits, write

from salmu_jax.data import records, releases
from salmu_jax.errors import InputError
from salmu_jax.results.splits import judged
from salmu_jax.runtime import files


def test_a_whole_release_opens_with_its_counts_and_rows(tmp_path):
  opened = releases.open_release(write(tmp_path / "r"))
  expected = splits()
  assert opened.counts == {split: len(rows) for split, rows in expected.items()}
  for split, rows in expected.items():
    read = list(releases.rows(opened, split))
    assert [r["file_name"] for r in read] == [r["file_name"] for r in rows]
    assert [r["image"] for r in read] == [r["image"]["bytes"] for r in rows]
    assert [r["identity_id"] for r in read] == [r["identity_id"] or "" for r in rows]
    assert list(releases.columns(opened, split)["text"]) == [r["text"] for r in rows]


def test_rows_run_in_sorted_shard_order_whatever_the_number_of_shards(tmp_path):
  names = [
    list(
      releases.columns(releases.open_release(write(tmp_path / f"{n}", shards=n)), "forget")[
        "file_name"
      ]
    )
    for n in (1, 3)
  ]
  assert names[0] == names[1]


def test_a_split_without_rows_is_read_as_empty(tmp_path):
  opened = releases.open_release(write(tmp_path / "r", {"retain_real": []}))
  assert opened.counts["retain_real"] == 0
  assert list(releases.rows(opened, "retain_real")) == []


def shard(path, split, index=0):
  return sorted((path / "data").glob(f"{split}-*.parquet"))[index]


def without_split(path):
  for file in (path / "data").glob("forget-*"):
    file.unlink()


def without_shard(path):
  shard(path, "forget", 1).unlink()


def truncated(path):
  file = shard(path, "retain_synth")
  file.write_bytes(file.read_bytes()[:-200])


def empty_file(path):
  shard(path, "retain_synth").write_bytes(b"")


def misnamed(path):
  shard(path, "forget").rename(path / "data" / "forget.parquet")


def without_metadata(path):
  (path / "identities_metadata.json").unlink()


def broken_metadata(path):
  (path / "sensitive_set_captions_metadata.json").write_text('{"a": ')


def without_data(path):
  (path / "data").rename(path / "elsewhere")


def unknown_identity(path):
  people = json.loads((path / "identities_metadata.json").read_text())
  del people["00000003"]
  (path / "identities_metadata.json").write_text(json.dumps(people))


def without_generic_caption(path):
  file = path / "sensitive_set_generic_captions.json"
  captions = json.loads(file.read_text())
  del captions["00000401_000_ar-1.00.jpg"]
  file.write_text(json.dumps(captions))


def stranger_among_captions(path):
  file = path / "sensitive_set_captions_metadata.json"
  captions = json.loads(file.read_text())
  file.write_text(json.dumps({**captions, "nobody.jpg": {"caption": "x", "data_field": "city"}}))


def stranger_among_generic_captions(path):
  file = path / "sensitive_set_generic_captions.json"
  file.write_text(json.dumps({**json.loads(file.read_text()), "a.jpg": "x", "b.jpg": "y"}))


def leak_of_an_unknown_field(path):
  file = path / "sensitive_set_captions_metadata.json"
  captions = json.loads(file.read_text())
  captions["00000401_000_ar-1.00.jpg"]["data_field"] = "shoe_size"
  file.write_text(json.dumps(captions))


def person_with_a_nested_value(path):
  file = path / "identities_metadata.json"
  people = json.loads(file.read_text())
  people["00000001"]["city"] = {"name": "Douala"}
  file.write_text(json.dumps(people))


def numbers_for_text(path):
  file = shard(path, "forget")
  table = pq.read_table(file)
  at = table.schema.get_field_index("text")
  pq.write_table(table.set_column(at, "text", pa.array(range(len(table)))), file)


def pixels_for_image(path):
  file = shard(path, "forget")
  table = pq.read_table(file)
  pq.write_table(table.set_column(0, "image", pa.array([[1, 2]] * len(table))), file)


def without_column(path):
  file = shard(path, "forget")
  table = pq.read_table(file).drop_columns(["text"])
  pq.write_table(table, file)


def test_the_published_benchmark_alone_opens_without_training_splits(tmp_path):
  path = write(tmp_path / "r", {"sensitive": None, "retain_real": None, "zero_shot": None})
  opened = releases.open_release(path)
  assert set(opened.counts) == set(judged())
  with pytest.raises(InputError, match="lacks the split 'sensitive'"):
    releases.open_release(path, (*judged(), "sensitive"))


def test_a_split_that_nothing_uses_is_carried_and_counted(tmp_path):
  rows = [{"image": {"bytes": b"?", "path": "x"}, "text": None, "identity_id": "no one"}] * 3
  names = [{**r, "file_name": "same.jpg"} for r in rows]
  opened = releases.open_release(write(tmp_path / "r", {"forget_target": names}))
  assert opened.counts["forget_target"] == 3
  assert [r["image"] for r in releases.rows(opened, "forget_target")] == [b"?"] * 3
  built = records.build(opened, tmp_path / "records")
  assert "forget_target" not in built and len(built["forget"]) == 12


def training_release(path):
  write(path, dict.fromkeys([*judged(), "retain_real", "zero_shot"]))
  rows = [*splits()["retain_synth"], *splits()["retain_real"]]
  for index, part in enumerate((rows[:10], rows[10:])):
    table = pa.Table.from_pylist(part, SCHEMA)
    pq.write_table(table, path / "data" / f"retain-{index:05d}-of-00002.parquet")
  return path


def test_benchmark_and_training_releases_are_read_as_one(tmp_path):
  alone = {"sensitive": None, "retain_real": None, "zero_shot": None}
  path = write(tmp_path / "benchmark", alone)
  training = training_release(tmp_path / "training")
  opened = releases.open_release(str(path), training=str(training))
  assert opened.counts["retain"] == 38 and opened.counts["sensitive"] == 24
  assert [r["file_name"] for r in releases.rows(opened, "sensitive")] == [
    r["file_name"] for r in splits()["sensitive"]
  ]
  assert opened.digest != releases.open_release(path).digest
  with pytest.raises(InputError, match=r"Both config\.release .* have the split 'sensitive'"):
    releases.open_release(write(tmp_path / "whole", {"retain_real": None}), training=str(training))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_other_kinds_of_strings_are_read_alike(tmp_path, kind):
  path = write(tmp_path / "r")
  before = releases.columns(releases.open_release(path), "forget")
  file = shard(path, "forget")
  table = pq.read_table(file)
  at = table.schema.get_field_index("text")
  pq.write_table(table.set_column(at, "text", table["text"].cast(pa.string()).cast(kind)), file)
  after = releases.columns(releases.open_release(path), "forget")
  assert list(after["text"]) == list(before["text"])


def test_a_shard_in_which_nobody_is_named_may_have_no_type_for_identities(tmp_path):
  path = write(tmp_path / "r")
  file = shard(path, "retain_synth", 1)
  table = pq.read_table(file)
  at = table.schema.get_field_index("identity_id")
  pq.write_table(table.set_column(at, "identity_id", pa.nulls(len(table))), file)
  assert set(releases.columns(releases.open_release(path), "retain_synth")["identity_id"]) == {
    "",
    "00000000",
  }


def test_a_release_without_a_manifest_is_hashed_once_and_again_where_it_changed(
  tmp_path, monkeypatch
):
  path, cache = write(tmp_path / "r"), tmp_path / "scratch"
  first = releases.open_release(path, scratch=cache)
  hashed = []
  monkeypatch.setattr(
    files, "sha256", lambda file, whole=files.sha256: hashed.append(file.name) or whole(file)
  )
  assert releases.open_release(path, scratch=cache).digest == first.digest
  assert hashed == []
  rows = splits()["retain_real"][:8]
  rows[0]["text"] = "another caption"
  pq.write_table(pa.Table.from_pylist(rows, SCHEMA), shard(path, "retain_real"))
  assert releases.open_release(path, scratch=cache).digest != first.digest
  assert hashed == ["retain_real-00000-of-00002.parquet"]


def fragile_stranger(path):
  (path / "fragile_set_ids.json").write_text('["nobody.jpg"]')


def without_rows(split):
  def damage(path):
    for file in (path / "data").glob(f"{split}-*"):
      pq.write_table(pq.read_table(file)[:0], file)

  return damage


def holding(name, change):
  """Damages a JSON file: replaces its content by `change` of it."""

  def damage(path):
    file = path / name
    content = json.loads(file.read_text()) if file.exists() else None
    file.write_text(json.dumps(change(content)))

  return damage


CAPTIONS, GENERIC = "sensitive_set_captions_metadata.json", "sensitive_set_generic_captions.json"


@pytest.mark.parametrize(
  "damage, message",
  [
    (fragile_stranger, r"fragile_set_ids\.json names 'nobody\.jpg'"),
    (holding("fragile_set_ids.json", lambda _: None), "must hold a list of file names"),
    (holding("fragile_set_ids.json", lambda _: [["x"]]), "must hold a list of file names"),
    (holding("identities_metadata.json", list), r"identities_metadata\.json holds a list"),
    (holding(CAPTIONS, lambda c: {k: v["caption"] for k, v in c.items()}), "must be an object"),
    (holding(GENERIC, list), r"generic_captions\.json holds a list"),
    (holding(GENERIC, lambda c: dict.fromkeys(c)), r"has None for '.*'; it must be a string"),
    (holding("zero_shot.json", list), r"zero_shot\.json must hold an object with two lists"),
    (holding("zero_shot.json", lambda z: {**z, "prompts": []}), "must hold an object with two"),
    (
      holding("manifest.json", lambda _: {"version": 1}),
      r"manifest\.json is not a release manifest",
    ),
    (holding("manifest.json", lambda _: [1]), r"manifest\.json is not a release manifest"),
    (without_rows("forget"), "The split 'forget' .* has no rows"),
    (without_rows("zero_shot"), "The split 'zero_shot' .* has no rows.*or remove them"),
    (without_data, "no folder data/"),
    (without_split, "lacks the split 'forget'"),
    (without_shard, r"lacks the shard data/forget-00001-of-00002\.parquet"),
    (truncated, r"retain_synth-00000-of-00002\.parquet is truncated"),
    (empty_file, r"retain_synth-00000-of-00002\.parquet is truncated"),
    (misnamed, r"forget\.parquet is not named"),
    (without_metadata, r"identities_metadata\.json is missing"),
    (broken_metadata, r"sensitive_set_captions_metadata\.json is not valid JSON"),
    (unknown_identity, "has the identity '00000003'"),
    (without_generic_caption, "no entry for '00000401_000_ar-1.00.jpg'"),
    (without_column, "has no column 'text'"),
    (numbers_for_text, r"column 'text' of .*forget-00000.* holds int64; it must hold string"),
    (pixels_for_image, r"column 'image' of .*forget-00000.* holds list.*it must hold struct"),
    (leak_of_an_unknown_field, r"00000401_000_ar-1\.00\.jpg.* leaks the field 'shoe_size'"),
    (person_with_a_nested_value, r"has \{'name': 'Douala'\} as 'city' of '00000001'"),
    (stranger_among_captions, r"captions_metadata\.json lists 'nobody\.jpg' and 0 more"),
    (stranger_among_generic_captions, r"generic_captions\.json lists 'a\.jpg' and 1 more"),
  ],
)
def test_damage_is_named_before_anything_is_read(tmp_path, damage, message):
  path = write(tmp_path / "r")
  damage(path)
  with pytest.raises(InputError, match=message):
    releases.open_release(path)


def test_doubled_file_names_are_named_with_their_rows(tmp_path):
  path = write(
    tmp_path / "r",
    {"retain_real": [row(1, "a"), row(2, "b"), row(3, "c", name=row(1, "")["file_name"])]},
  )
  with pytest.raises(InputError, match=r"Rows 0 and 2 of split 'retain_real'.*00000001_000"):
    releases.open_release(path)


def test_a_leak_of_nobody_is_refused(tmp_path):
  rows = splits()["forget"]
  rows[3]["identity_id"] = None
  path = write(tmp_path / "r", {"forget": rows})
  with pytest.raises(InputError, match=r"00000003_000_ar-1\.00\.jpg.* has no identity_id"):
    releases.open_release(path)


def test_a_missing_file_name_is_named_by_its_row(tmp_path):
  nameless = {**row(2, "b"), "file_name": None}
  path = write(tmp_path / "r", {"retain_real": [row(1, "a"), nameless]})
  with pytest.raises(InputError, match=r"Row 1 of split 'retain_real'.*no file_name"):
    releases.open_release(path)


def with_manifest(path):
  listed = sorted(path.rglob("*.parquet"))
  manifest = {
    "generator": "by hand",
    "counts": {split: len(rows) for split, rows in splits().items()},
    "files": {str(f.relative_to(path)): hashlib.sha256(f.read_bytes()).hexdigest() for f in listed},
  }
  (path / "manifest.json").write_text(json.dumps(manifest))
  return path


def test_a_changed_shard_is_found_by_its_hash(tmp_path):
  path = with_manifest(write(tmp_path / "r"))
  releases.verify(releases.open_release(path))
  rows = splits()["retain_real"][:8]
  rows[0]["text"] = "another caption"
  pq.write_table(pa.Table.from_pylist(rows, SCHEMA), shard(path, "retain_real"))
  with pytest.raises(InputError, match=r"retain_real-00000-of-00002\.parquet is not the file"):
    releases.verify(releases.open_release(path))


def test_counts_that_differ_from_the_manifest_are_refused(tmp_path):
  path = with_manifest(write(tmp_path / "r"))
  pq.write_table(
    pa.Table.from_pylist(splits()["retain_real"][:3], SCHEMA), shard(path, "retain_real")
  )
  with pytest.raises(InputError, match=r"'retain_real'.*has 12 rows; manifest.json says 17"):
    releases.open_release(path)


def test_a_release_without_a_manifest_is_named_by_its_content(tmp_path):
  first = releases.open_release(write(tmp_path / "a"))
  same = releases.open_release(write(tmp_path / "b"))
  other = releases.open_release(write(tmp_path / "c", {"retain_real": [row(1, "x")]}))
  assert first.digest == same.digest != other.digest


def test_the_fragile_set_is_the_lowest_tenth_and_is_read_back(tmp_path):
  opened = releases.open_release(write(tmp_path / "r"))
  assert releases.read_fragile(opened) is None
  names = list(releases.columns(opened, "retain_synth")["file_name"][1:])
  similarities = [0.5] * 20
  similarities[3], similarities[11] = 0.1, -0.2
  chosen = releases.write_fragile(opened, names, similarities)
  assert chosen == sorted([names[3], names[11]]) == releases.read_fragile(opened)
  stored = json.loads((opened.path / "fragile_set_all_similarities.json").read_text())
  assert stored == dict(zip(names, similarities, strict=True))


def test_a_fragile_set_with_unknown_names_is_refused(tmp_path):
  path = write(tmp_path / "r")
  fragile_stranger(path)
  with pytest.raises(InputError, match=r"nobody\.jpg"):
    releases.read_fragile(releases.open_release(path))


@pytest.mark.parametrize("rows_of_a_group", [20, 300])
def test_image_bytes_are_streamed_not_held(tmp_path, rows_of_a_group):
  picture = {"bytes": bytes(20_000), "path": "x"}
  rows = [{**row(i, "a picture"), "image": picture} for i in range(300)]
  path = write(tmp_path / "r")
  pq.write_table(
    pa.Table.from_pylist(rows, SCHEMA),
    shard(path, "retain_real"),
    row_group_size=rows_of_a_group,
    compression="none",
  )
  shard(path, "retain_real", 1).unlink()
  shard(path, "retain_real").rename(path / "data" / "retain_real-00000-of-00001.parquet")
  opened = releases.open_release(path)
  del rows
  before = pa.total_allocated_bytes()
  most = max(
    pa.total_allocated_bytes() - before for _ in releases.rows(opened, "retain_real", batch_rows=8)
  )
  assert most < 300 * 20_000 / 4
