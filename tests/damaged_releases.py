"""Ways to damage a handmade release: damage(folder of the release)."""

import json

import pyarrow.parquet as pq

IDENTITIES, ZERO_SHOT = "identities_metadata.json", "zero_shot.json"
CAPTIONS, GENERIC = "sensitive_set_captions_metadata.json", "sensitive_set_generic_captions.json"
FRAGILE, MANIFEST = "fragile_set_ids.json", "manifest.json"


def shard(path, split, index=0):
  return sorted((path / "data").glob(f"{split}-*.parquet"))[index]


def holding(name, change):
  """Replaces the content of a JSON file by `change` of it."""

  def damage(path):
    file = path / name
    content = json.loads(file.read_text()) if file.exists() else None
    file.write_text(json.dumps(change(content)))

  return damage


def first(file, /, **parts):
  """Replaces parts of the first entry of a JSON file; a part that is ... is taken away."""

  def change(content):
    key = next(iter(content))
    entry = {**content[key], **parts}
    return {**content, key: {k: v for k, v in entry.items() if v is not ...}}

  return holding(file, change)


def manifest(**parts):
  """Writes a manifest that lists nothing, with these parts beside it or instead."""
  return holding(MANIFEST, lambda _: {"counts": {}, "files": {}, **parts})


def column(name, change, split="forget", index=0):
  """Replaces a column of a shard by `change` of it."""

  def damage(path):
    file = shard(path, split, index)
    table = pq.read_table(file)
    at = table.schema.get_field_index(name)
    pq.write_table(table.set_column(at, name, change(table[name])), file)

  return damage


def renamed(name, split="forget", index=0):
  """Renames a shard."""
  return lambda path: shard(path, split, index).rename(path / "data" / name)


def copied(name, split="forget", index=0):
  """Writes a shard without rows beside another."""
  return lambda path: pq.write_table(
    pq.read_table(shard(path, split, index))[:0], path / "data" / name
  )
