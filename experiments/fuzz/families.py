"""Families of inputs: how each is damaged, and how the program handles it.

A family runs one input. It returns "" if the input was rightly accepted, and a description of the
fault if the program should have noticed the damage. A refusal is an InputError; any other exception
is a traceback that a user would see.
"""

import io
import json
import pathlib
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from ml_collections import ConfigDict
from PIL import Image

from configs import smoke
from experiments.fuzz import values
from experiments.fuzz import world as worlds
from experiments.fuzz.world import World
from salmu_jax import config_file
from salmu_jax.benchmark import configuration
from salmu_jax.data import images, own, records, releases, separation, tokenizers, zero_shot
from salmu_jax.interop import convert, external_models, statedict, weights
from salmu_jax.methods import METHODS, base
from salmu_jax.models import clip, presets
from salmu_jax.report import leaderboard, submit
from salmu_jax.results.reading import read_results
from salmu_jax.runtime import files, places
from salmu_jax.train import checkpoint, optimizers, writer


class Family(NamedTuple):
  """One kind of input.

  Attributes:
    cases: cases(world) -> a strategy that draws inputs.
    run: run(world, case) -> "", or a description of a silent fault.
    share: weight of the family among all inputs.
  """

  cases: Callable[[World], st.SearchStrategy]
  run: Callable[[World, Any], str]
  share: int = 1


def _config_cases(world: World) -> st.SearchStrategy:
  """(path of a field, value)."""
  del world
  fields = values.paths(smoke.get_config("finetune").to_dict())
  any_value = st.one_of(values.PYTHON, st.integers(0, 64), st.floats(0, 1))
  return st.tuples(st.sampled_from([path for path in fields if path]), any_value)


def _run_config(world: World, case: tuple) -> str:
  del world
  path, value = case
  config = smoke.get_config("finetune")
  section = config
  with config.unlocked():
    for name in path[:-1]:
      section = section[name]
      if not isinstance(section, ConfigDict):  # inside a tuple
        return ""
    section._fields[path[-1]] = value
  configuration.check(config, worlds.mesh())
  return ""


def _config_files(world: World) -> st.SearchStrategy:
  source = pathlib.Path(smoke.__file__).read_bytes()
  del world
  return values.damaged(source)


def _run_config_file(world: World, case: bytes) -> str:
  path = world.folder / "own.py"
  path.write_bytes(case)
  configuration.check(config_file.load(path), worlds.mesh())
  return ""


def _arguments(world: World) -> st.SearchStrategy:
  """(method, argument, value)."""
  del world
  pairs = [(name, argument) for name, make in METHODS.items() for argument in base.arguments(make)]
  any_value = st.one_of(values.PYTHON, st.integers(0, 8), st.floats(0, 1))
  return st.tuples(st.sampled_from(pairs), any_value)


def _run_argument(world: World, case: tuple) -> str:
  del world
  (method, argument), value = case
  optimizer = optimizers.make_optimizer(optimizers.settings(1e-3), 10)
  base.build(METHODS[method], optimizer, {argument: value}, steps=10, seed=0)
  return ""


def _documents(world: World) -> st.SearchStrategy:
  """(name of a JSON file of the release, bytes)."""
  return st.sampled_from(sorted(world.documents)).flatmap(
    lambda name: st.tuples(st.just(name), values.changed_json(world.documents[name]))
  )


def _run_document(world: World, case: tuple) -> str:
  name, content = case
  folder = worlds.case(world, world.release)
  (folder / name).write_bytes(content)
  return _open_release(folder)


def _columns(world: World) -> st.SearchStrategy:
  """(file of the release, column, change, type, texts, number)."""
  shards = sorted(path.name for path in (world.release / "data").glob("*.parquet"))
  names = ("image", "text", "identity_id", "file_name")
  changes = ("values", "type", "missing", "doubled", "nulls", "rows", "bytes")
  types = (
    pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.int64(), pa.float32(),
    pa.list_(pa.string()), pa.list_(pa.int32()), pa.bool_(), pa.timestamp("s"), pa.null(),
    pa.dictionary(pa.int8(), pa.string()), pa.struct([("bytes", pa.string())]),
  )  # fmt: skip
  return st.tuples(
    st.sampled_from(shards),
    st.sampled_from(names),
    st.sampled_from(changes),
    st.sampled_from(types),
    st.lists(st.one_of(st.none(), values.TEXTS), min_size=1, max_size=4),
    st.integers(0, 10**6),
  )


def _run_column(world: World, case: tuple) -> str:
  folder = worlds.case(world, world.release)
  file, column, change, kind, texts, number = case
  path = folder / "data" / file
  if change == "bytes":
    content = bytearray(path.read_bytes())
    content[number % len(content)] ^= 1 << number % 8
    path.write_bytes(content)
    return _open_release(folder)
  pq.write_table(_changed(pq.read_table(path), column, change, kind, texts, number), path)
  return _open_release(folder)


def _changed(table, column, change, kind, texts, number):
  """A copy of a table with one column or the rows changed."""
  at, rows = table.schema.get_field_index(column), len(table)
  if change == "missing":
    return table.drop_columns([column])
  if change == "doubled":
    return table.append_column(column, table[column])
  if change == "rows":
    return table.slice(0, number % (rows + 1))
  if change == "values":
    cells = [texts[i % len(texts)] for i in range(rows)]
    cells = [cell and cell.encode("utf-8", "ignore").decode() for cell in cells]
    return table.set_column(at, column, pa.array(cells, pa.string()))
  filler = pa.nulls(rows, table.schema.field(column).type if change == "nulls" else kind)
  if change == "type" and pa.types.is_integer(kind):
    filler = pa.array(range(rows), kind)
  if change == "type" and (pa.types.is_string(kind) or pa.types.is_string_view(kind)):
    filler = pa.array([f"{number}-{row}" for row in range(rows)], kind)
  return table.set_column(at, column, filler)


def _open_release(folder):
  """Opens a release and its pictures, as a run does."""
  release = releases.open_release(folder)
  scratch = folder.parent / "scratch"
  separation.check(release, scratch)
  rows = records.build(release, scratch / "records")
  zero_shot.of_release(release, rows)
  return ""


def _pictures(world: World) -> st.SearchStrategy:
  """Encoded pictures, damaged."""
  del world
  return st.sampled_from(_encoded()).flatmap(values.damaged)


def _encoded() -> list[bytes]:
  pixels = np.random.default_rng(0).integers(0, 255, (9, 12, 3), np.uint8)
  made = []
  for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "TGA", "ICO", "AVIF", "DDS"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    made.append(buffer.getvalue())
  return made


def _run_picture(world: World, case: bytes) -> str:
  del world
  pixels = images.resize_and_crop(images.decode(case, "the picture"), 16)
  return "" if pixels.shape == (16, 16, 3) else f"a picture of {pixels.shape}"


def _pairs(world: World) -> st.SearchStrategy:
  """The bytes of a file of own pairs."""
  lines = (world.own / "pairs.jsonl").read_text().splitlines()
  changed = values.changed_json(json.loads(lines[0]))
  return st.one_of(
    changed.map(lambda line: line + b"\n" + lines[1].encode() + b"\n"),
    values.damaged("\n".join(lines).encode()),
  )


def _run_pairs(world: World, case: bytes) -> str:
  folder = worlds.case(world, world.own)
  (folder / "pairs.jsonl").write_bytes(case)
  made = own.make(folder / "pairs.jsonl", folder / "keep.jsonl", folder / "made")
  release = releases.open_release(made, (own.FORGET, own.RETAIN))
  records.build(release, folder / "records")
  return ""


def _results(world: World) -> st.SearchStrategy:
  """(name of a results file, bytes)."""
  return st.sampled_from(sorted(world.results)).flatmap(
    lambda name: st.tuples(st.just(name), values.changed_json(world.results[name]))
  )


def _run_results(world: World, case: tuple) -> str:
  name, content = case
  folder = worlds.results_case(world, {"clean", "compromised", name})
  (folder / f"{name}.json").write_bytes(content)
  leaderboard.rows(read_results(folder), smoke.get_config().diagnosis.to_dict())
  return ""


def _run_submission(world: World, case: tuple) -> str:
  name, content = case
  folder = worlds.results_case(world, {"clean", "compromised"})
  path = world.folder / "submitted.json"
  path.write_bytes(content)
  added = submit.submit(path, folder)
  before, after = world.results[name], files.read_json(added)
  return "" if after == before else _other_scores(before, after)


def _other_scores(before, after):
  """A score that changed in an accepted submission, or "". Per-row scores cannot be checked."""
  for path in values.paths(before):
    was, now = _at(before, path), _at(after, path)
    # Per-row scores are in lists; they cannot be checked.
    scored = path[:1] in (("efficacy",), ("utility",)) and all(isinstance(k, str) for k in path)
    if scored and isinstance(was, float) and now not in (was, None):
      return f"{'.'.join(map(str, path))} is {now!r} and was {was!r}"
  return ""


def _at(value, path):
  for key in path:
    try:
      value = value[key]
    except (KeyError, IndexError, TypeError):
      return None
  return value


def _model_files(world: World) -> st.SearchStrategy:
  """(file of a finished model folder, bytes)."""
  names = sorted(p.relative_to(world.model) for p in world.model.rglob("*") if p.is_file())
  return st.sampled_from([str(name) for name in names]).flatmap(
    lambda name: st.tuples(st.just(name), values.damaged((world.model / name).read_bytes()))
  )


def _run_model(world: World, case: tuple) -> str:
  name, content = case
  folder = worlds.case(world, world.model)
  (folder / name).write_bytes(content)
  config = smoke.get_config()
  config.model.preset, config.init.clean = "vit_b16_narrow", str(folder)
  place = places.place(folder)
  external_models.check(config, place, "clean", tokenizers.clip_tokenizer())
  model = presets.make_model(config.model, presets.sizes("vit_b16_narrow").vocab_size)
  params = jax.device_get(external_models.load_params(place, model, worlds.mesh()))
  convert.export_model(folder, world.folder / "exported" / str(time.monotonic_ns()))
  same = checkpoint.digest(params) == checkpoint.digest(world.params)
  return "" if same else f"other weights after damage to {name}"


def _weights(world: World) -> st.SearchStrategy:
  """The bytes of a file of safetensors: its header damaged, or its end."""
  content = world.weights.read_bytes()
  header = int.from_bytes(content[:8], "little") + 8
  return values.damaged(content[:header]).map(lambda head: head + content[header:])


def _run_weights(world: World, case: bytes) -> str:
  path = world.folder / "model.safetensors"
  path.write_bytes(case)
  sizes = presets.PRESETS["vit_b16_narrow"]
  params = statedict.from_tensors(weights.read_tensors(path), sizes, str(path))
  shapes = jax.tree.map(np.shape, clip.shapes(clip.CLIP(sizes)))
  return "" if jax.tree.map(np.shape, params) == shapes else "other shapes"


def _tokenizers(world: World) -> st.SearchStrategy:
  del world
  kept = [*range(512), 49406, 49407]
  return values.changed_json({"context_length": 20, "kept": kept})


def _run_tokenizer(world: World, case: bytes) -> str:
  path = world.folder / "tokenizer.json"
  path.write_bytes(case)
  ids = tokenizers.load(path)(["a portrait of Ana"])
  return "" if ids.dtype == np.int32 else "ids of another type"


def _texts(world: World) -> st.SearchStrategy:
  del world
  return values.TEXTS


def _run_text(world: World, case: str) -> str:
  del world
  words = tokenizers.clip_tokenizer(20)
  row = words([case])[0]
  whole = row[0] == words.start_of_text and (row == words.end_of_text).any()
  return "" if whole else "a row without start or end"


def _logs(world: World) -> st.SearchStrategy:
  del world
  row = {"step": 3, "seconds": 1.5, "loss": 0.5}
  good = json.dumps(row).encode() + b"\n"
  return st.one_of(
    values.changed_json(row).map(lambda line: good + line + b"\n" + good),
    values.damaged(3 * good),
  )


def _run_log(world: World, case: bytes) -> str:
  path = world.folder / "metrics.jsonl"
  path.write_bytes(case)
  rows = writer.read(path)
  numbers = all(isinstance(row["step"], int | float) for row in rows)
  return "" if numbers else "a row without a step"


FAMILIES: dict[str, Family] = {
  "field of a config": Family(_config_cases, _run_config, 8),
  "config file": Family(_config_files, _run_config_file, 2),
  "argument of a method": Family(_arguments, _run_argument, 4),
  "JSON file of a release": Family(_documents, _run_document, 5),
  "parquet file of a release": Family(_columns, _run_column, 5),
  "picture": Family(_pictures, _run_picture, 4),
  "own pairs": Family(_pairs, _run_pairs, 3),
  "results file": Family(_results, _run_results, 2),
  "submission": Family(_results, _run_submission, 2),
  "file of a finished model": Family(_model_files, _run_model, 2),
  "weights": Family(_weights, _run_weights, 1),
  "tokenizer file": Family(_tokenizers, _run_tokenizer, 1),
  "text": Family(_texts, _run_text, 2),
  "training log": Family(_logs, _run_log, 1),
}
