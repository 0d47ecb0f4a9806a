"""Writes a generated release in the published format (`salmu_jax.data.releases` reads it).

Rows are rendered shard by shard, in `workers` processes. The release depends only on the other
settings and the seed. A killed build resumes with the first missing shard.
"""

import collections
import concurrent.futures.process
import contextlib
import functools
import io
import multiprocessing
import os
import pathlib
import shutil
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
from ml_collections import ConfigDict

import salmu_jax
from salmu_jax.data import dataset_card, parquet_shards, releases
from salmu_jax.errors import InputError
from salmu_jax.generate import personas, plan, portraits, scenes
from salmu_jax.results import splits
from salmu_jax.runtime import ends, files, machine, places, progress

Task = tuple  # (kind of picture, its numbers ...), see `_draw`
Row = tuple[Task, str | None, str | None, str]  # task, text, identity id, file name
_ROW_BYTES = 500  # lower bound on the memory of a row's texts and draws
Shard = tuple[pathlib.Path, int, int]  # file, first row, past the last row
# render(tasks) -> (JPEG bytes, text or None) of each task, in order.
Renderer = Callable[[Sequence[Task]], Iterable[tuple[bytes, str | None]]]

# The state of a worker process, set once when it starts.
_WORKER: dict[str, Any] = {}


class Contents(NamedTuple):
  """A release without its images; each image follows from its row.

  Attributes:
    cast: all people.
    sensitive: rows of the leaks.
    classes: names of the zero-shot classes.
    rows: split -> the rows to render. A text of None is drawn with the image.
  """

  cast: plan.Cast
  sensitive: Sequence[plan.Row]
  classes: Sequence[str]
  rows: Mapping[str, Sequence[Row]]


def draw_contents(settings: ConfigDict, seed: int) -> Contents:
  """Draws the contents of a release; settings is `config.generate`.

  Raises:
    InputError: the settings are impossible.
  """
  classes, size = plan.check(settings), settings.image_size
  cast = plan.draw_cast(settings, seed)
  sensitive = plan.sensitive_rows(settings, seed, cast)
  portrait = lambda row: (_portrait_task(row, size), row.text, row.identity_id, row.file_name)
  scene = lambda i: (("scene", i), None, None, f"scene_{i:08d}.jpg")
  rows = {
    "sensitive": [portrait(row) for row in sensitive],
    "retain_synth": [portrait(row) for row in plan.retain_rows(settings, seed, cast)],
    "retain_real": [scene(i) for i in range(settings.scenes)],
    "zero_shot": [
      (("zero_shot", label, image), name, None, f"zeroshot_{label:04d}_{image:03d}.jpg")
      for label, name in enumerate(classes)
      for image in range(settings.zero_shot_images)
    ],
  }
  return Contents(cast, sensitive, classes, rows)


def generate(
  settings: ConfigDict,
  seed: int,
  path: str | os.PathLike,
  render_shards: Callable[[pathlib.Path], None] | None = None,
  check: Callable[[Mapping[str, int]], object] = lambda counts: None,
) -> dict[str, dict[str, int]]:
  """Makes a release directory, unless it exists.

  Args:
    settings: `config.generate`.
    seed: of everything drawn.
    path: the directory to make; it appears complete or not at all.
    render_shards: render_shards(folder) renders shards by other means, see `render_shard`; any
      that are missing afterwards are rendered here.
    check: check({split: rows}), called before anything is written; its errors are raised.

  Returns:
    {"counts": {split: rows}}.

  Raises:
    InputError: the settings are impossible, the release would not fit into memory or on the disk,
      or `path` holds a release of other settings or another seed.
  """
  path = pathlib.Path(path)
  origin = {"seed": seed, "settings": {k: v for k, v in settings.items() if k != "workers"}}
  if path.exists():
    return _generated_before(path, origin)
  _require_room(path.parent, settings)
  contents = draw_contents(settings, seed)
  check(_counts(settings, seed, contents))
  partial = path.with_name(path.name + ".partial")
  note = partial / "settings.json"
  if not note.exists() or files.read_json(note) != origin:
    shutil.rmtree(partial, ignore_errors=True)
    files.write_json(note, origin)
  if render_shards:
    render_shards(partial)
  with _renderer(settings, seed, contents) as render:
    _write_splits(partial, settings, seed, contents, render)
  counts = _counts(settings, seed, contents)
  _write_texts(partial, settings, contents)
  note.unlink()
  for leftover in partial.rglob(".*"):
    leftover.unlink()
  dataset_card.write(partial, _write_manifest(partial, origin, counts))
  os.replace(partial, path)
  return {"counts": counts}


def _write_manifest(folder, origin, counts):
  """Writes the manifest of the files in a folder; returns it."""
  paths = sorted(file for file in folder.rglob("*") if file.is_file())
  manifest = {
    "generator": dataset_card.GENERATOR + salmu_jax.__version__,
    **origin,
    "counts": counts,
    "files": {str(file.relative_to(folder)): files.sha256(file) for file in paths},
  }
  files.write_json(folder / releases.MANIFEST, manifest)
  return manifest


def check_manifest(path: places.Place) -> None:
  """Raises InputError for a generated release whose manifest is missing."""
  if not (path / releases.MANIFEST).exists():
    raise InputError(
      f"{path / releases.MANIFEST} is missing; it identifies the generated release in models and "
      f"results. Restore it, or delete {path}: the same command then generates the release again."
    )


def _generated_before(path, origin):
  """The result of `generate` for a release that exists; checks that settings and seed are equal."""
  check_manifest(path)
  manifest = files.read_json(path / releases.MANIFEST)
  if any(manifest.get(name) != value for name, value in origin.items()):
    raise InputError(
      f"{path} was generated with other settings or another seed; its manifest.json says which. "
      "Choose another --workdir, or delete it to generate the release again."
    )
  return {"counts": manifest["counts"]}


def _require_room(folder, settings):
  """Raises InputError unless a release fits into memory, without its images, and on the disk."""
  leaks = settings.people * settings.images_per_person
  scene_count = settings.scenes + settings.classes * settings.zero_shot_images
  rows = leaks + settings.retain_synth + scene_count
  memory = machine.memory()
  if _ROW_BYTES * rows > memory:
    raise InputError(
      f"config.generate makes {rows:,} rows, which take about {_ROW_BYTES * rows / 2**30:,.1f} GiB "
      f"of memory even without images; this machine has {memory / 2**30:,.1f} GiB. Make a "
      "smaller release."
    )
  # A row of sensitive is written twice: it is also in a benchmark split.
  pictures, size = rows + leaks, settings.image_size**2 + 2000
  purpose = f"the generated release, {pictures:,} pictures of at most {size:,} bytes"
  files.require_space(folder, pictures * size, purpose)


def _counts(settings, seed, contents):
  """{split: rows} of a release."""
  counts = {split: len(rows) for split, rows in contents.rows.items()}
  split_of = functools.partial(plan.split_of, settings, seed, contents.cast)
  members = collections.Counter(map(split_of, contents.sensitive))
  return counts | {split: members[split] for split in splits.sensitive()}


def _write_splits(path, settings, seed, contents, render):
  """Writes all parquet shards."""
  for split, rows in contents.rows.items():
    with progress.counting(f"rendering {split}", len(rows)) as tick:
      for shard in _shards_of(path, split, len(rows), settings.shard_rows):
        render_shard(shard, rows, render, tick)
  split_by_name = {
    row.file_name: plan.split_of(settings, seed, contents.cast, row) for row in contents.sensitive
  }
  for split in splits.sensitive():
    members = [row.file_name for row in contents.sensitive if split_by_name[row.file_name] == split]
    _copy_from_sensitive(path, split, set(members), settings.shard_rows)


def list_shards(
  path: pathlib.Path, settings: ConfigDict, contents: Contents
) -> list[tuple[str, Shard]]:
  """(split, shard) of all shards to render."""
  return [
    (split, shard)
    for split, rows in contents.rows.items()
    for shard in _shards_of(path, split, len(rows), settings.shard_rows)
  ]


def render_shard(
  shard: Shard, rows: Sequence[Row], render: Renderer, tick: Callable[[], object] = lambda: None
) -> None:
  """Renders a shard of the `rows` of a split, unless it exists; calls tick() after each row."""
  file, start, stop = shard
  chunk, table = rows[start:stop], []
  if file.exists():
    for _ in chunk:
      tick()
    return
  pictures = render([row[0] for row in chunk])
  for (_, text, identity, name), (image, drawn_text) in zip(chunk, pictures, strict=True):
    struct = {"bytes": image, "path": name}
    text = drawn_text if text is None else text
    table.append({"image": struct, "text": text, "identity_id": identity, "file_name": name})
    tick()
  _write_shard(file, table)


def _copy_from_sensitive(path, split, members, shard_rows):
  """Writes a benchmark split from the rows of `sensitive` that belong to it, in their order."""
  shards = _shards_of(path, split, len(members), shard_rows)
  if all(file.exists() for file, _, _ in shards):
    return
  waiting, shards = [], iter(shards)
  file, start, stop = next(shards)
  for source in sorted((path / "data").glob("sensitive-*.parquet")):
    with pq.ParquetFile(source) as parquet:
      for batch in parquet.iter_batches(batch_size=64):
        waiting += [row for row in batch.to_pylist() if row["file_name"] in members]
        while len(waiting) >= stop - start:
          _write_shard(file, waiting[: stop - start])
          waiting = waiting[stop - start :]
          next_shard = next(shards, None)
          if next_shard is None:
            return
          file, start, stop = next_shard


def _shards_of(path, split, rows, shard_rows):
  """The shards of a split with `rows` rows."""
  count = max(1, -(-rows // shard_rows))
  bounds = [rows * i // count for i in range(count + 1)]
  return [
    (path / "data" / f"{split}-{i:05d}-of-{count:05d}.parquet", bounds[i], bounds[i + 1])
    for i in range(count)
  ]


def _write_shard(file, rows):
  with files.replacing(file) as temporary:
    pq.write_table(pa.Table.from_pylist(rows, parquet_shards.SCHEMA), temporary, row_group_size=256)


def _write_texts(path, settings, contents):
  """Writes the JSON files beside the shards."""
  people = contents.cast.people[: settings.people]
  files.write_json(
    path / releases.IDENTITIES, {f"{p.number:08d}": personas.metadata(p) for p in people}
  )
  files.write_json(
    path / releases.CAPTIONS,
    {
      row.file_name: {
        "caption": row.text,
        "data_field": row.field,
        "value": row.value,
        "style": row.template.split("/")[1],
        "template": row.template,
      }
      for row in contents.sensitive
    },
  )
  generic = {row.file_name: row.generic for row in contents.sensitive}
  files.write_json(path / releases.GENERIC, generic)
  files.write_json(
    path / releases.ZERO_SHOT,
    {"classes": list(contents.classes), "prompts": list(scenes.ZERO_SHOT_PROMPTS)},
  )


def _portrait_task(row, size):
  width, height = (
    (round(size * row.aspect), size) if row.aspect > 1 else (size, round(size / row.aspect))
  )
  return ("portrait", row.person, row.image, width, height)


def local_renderer(settings: ConfigDict, seed: int, contents: Contents) -> Renderer:
  """A renderer in this process."""
  _start_worker(_worker_state(settings, seed, contents))
  return lambda tasks: map(_draw, tasks)


def _worker_state(settings, seed, contents):
  """The state that a worker needs to draw any task."""
  return {
    "seed": seed,
    "identities": contents.cast.identities,
    "classes": contents.classes,
    "size": settings.image_size,
    "portrait_nuisance": settings.portrait_nuisance,
    "scene_nuisance": settings.scene_nuisance,
  }


@contextlib.contextmanager
def _renderer(settings, seed, contents):
  """Yields a renderer in `workers` processes."""
  if settings.workers == 1:
    yield local_renderer(settings, seed, contents)
    return
  # Forking a process that runs JAX's threads can deadlock, so workers start afresh.
  context = multiprocessing.get_context("spawn")
  state = _worker_state(settings, seed, contents)
  pool = concurrent.futures.ProcessPoolExecutor(settings.workers, context, _start_worker, (state,))

  def render(tasks):
    with ends.starting_workers():
      return pool.map(_draw, tasks, chunksize=32)

  try:
    yield render
  except concurrent.futures.process.BrokenProcessPool as error:
    raise InputError(
      f"One of the {settings.workers} processes that draw the release was killed, probably because "
      "memory ran out. Rerun the same command; if it happens again, lower "
      "config.generate.workers."
    ) from error
  finally:
    pool.shutdown(cancel_futures=True)


def _start_worker(state):
  """Sets the state of a worker; a worker process ends when its parent is killed."""
  _WORKER.update(state)
  parent = multiprocessing.parent_process()
  if parent:
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _draw(task):
  """Renders one task: (JPEG bytes, text or None)."""
  kind, *numbers = task
  seed, size, classes = _WORKER["seed"], _WORKER["size"], _WORKER["classes"]
  text = None
  if kind == "portrait":
    person, image, width, height = numbers
    look = portraits.nuisance(seed, person, image, strength=_WORKER["portrait_nuisance"])
    picture = portraits.render(_WORKER["identities"][person], look, width, height)
  elif kind == "scene":
    picture, text = scenes.training_scene(
      seed, *numbers, classes, size, size, _WORKER["scene_nuisance"]
    )
  else:
    strength = _WORKER["scene_nuisance"]
    picture = scenes.zero_shot_scene(seed, *numbers, classes, size, size, strength)
  encoded = io.BytesIO()
  picture.save(encoded, "JPEG", quality=92)
  return encoded.getvalue(), text
