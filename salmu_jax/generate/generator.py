"""Writes a generated release in the published format (`salmu_jax.data.releases` reads it).

Rows are rendered shard by shard, in as many processes as asked for; what comes out depends on the
settings and the seed alone. A killed build goes on with the first shard that is not there yet.
"""

import concurrent.futures
import contextlib
import io
import multiprocessing
import os
import pathlib
import shutil
import threading
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

import salmu_jax
from salmu_jax.data import parquet_shards, releases
from salmu_jax.errors import InputError
from salmu_jax.generate import personas, plan, portraits, scenes
from salmu_jax.results import splits
from salmu_jax.runtime import files, progress

# What a worker process knows, set once when it starts.
_WORKER = {}


class Story(NamedTuple):
  """All of a release but its pictures, which follow from it one by one.

  everybody: plan.Cast. sensitive: rows of the leaks. names: of classes. rows: split -> (task, text
    or
  None, identity id or None, file name) of those that are rendered.
  """

  everybody: plan.Cast
  sensitive: list
  names: tuple
  rows: dict


def tell(settings, seed):
  """The Story of a release; settings is `config.generate`.

  Raises:
    InputError: impossible settings.
  """
  names, size = plan.check(settings), settings.image_size
  everybody = plan.cast(settings, seed)
  sensitive = plan.sensitive_rows(settings, seed, everybody)
  portrait = lambda row: (_portrait_task(row, size), row.text, row.identity_id, row.file_name)
  scene = lambda i: (("scene", i), None, None, f"scene_{i:08d}.jpg")
  rows = {
    "sensitive": [portrait(row) for row in sensitive],
    "retain_synth": [portrait(row) for row in plan.retain_rows(settings, seed, everybody)],
    "retain_real": [scene(i) for i in range(settings.scenes)],
    "zero_shot": [
      (("zero_shot", label, image), name, None, f"zeroshot_{label:04d}_{image:03d}.jpg")
      for label, name in enumerate(names)
      for image in range(settings.zero_shot_images)
    ],
  }
  return Story(everybody, sensitive, names, rows)


def generate(settings, seed, path, render_before=None):
  """Makes a release directory; one that is there already is left alone.

  Args:
    settings: `config.generate`.
    seed: of everything drawn.
    path: the directory to make; it appears whole or not at all.
    render_before: render_before(folder) writes shards of pictures in its own way, see
      `render_shard`; those that it leaves out are rendered here.

  Returns:
    {"counts": {split: rows}}.

  Raises:
    InputError: impossible settings, or a disk that is full.
  """
  path = pathlib.Path(path)
  facts = {"seed": seed, "settings": {k: v for k, v in settings.items() if k != "workers"}}
  if path.exists():
    return _generated_before(path, facts)
  story = tell(settings, seed)
  partial = path.with_name(path.name + ".partial")
  files.require_space(path.parent, _size(settings), "the generated release")
  if (
    not (partial / "settings.json").exists() or files.read_json(partial / "settings.json") != facts
  ):
    shutil.rmtree(partial, ignore_errors=True)
    files.write_json(partial / "settings.json", facts)
  if render_before:
    render_before(partial)
  with _renderer(settings, seed, story) as render:
    counts = _write_splits(partial, settings, seed, story, render)
  _write_texts(partial, story.everybody.people[: settings.people], story.sensitive, story.names)
  (partial / "settings.json").unlink()
  for leftover in partial.rglob(".*"):
    leftover.unlink()
  listed = sorted(file for file in partial.rglob("*") if file.is_file())
  files.write_json(
    partial / releases.MANIFEST,
    {
      "generator": f"salmu_jax {salmu_jax.__version__}",
      **facts,
      "counts": counts,
      "files": {str(file.relative_to(partial)): files.sha256(file) for file in listed},
    },
  )
  os.replace(partial, path)
  return {"counts": counts}


def _generated_before(path, facts):
  """What `generate` returns for a release that is there, if it is the one asked for."""
  manifest = files.read_json(path / releases.MANIFEST)
  if any(manifest.get(name) != value for name, value in facts.items()):
    raise InputError(
      f"{path} was generated with other settings or another seed; its manifest.json says which. "
      "Choose another --workdir, or delete it to have the release made anew."
    )
  return {"counts": manifest["counts"]}


def _size(settings):
  """Bytes that a release needs at most, for the check of free space."""
  portraits_ = 2 * settings.people * settings.images_per_person + settings.retain_synth
  others = settings.scenes + settings.classes * settings.zero_shot_images
  return (portraits_ + others) * (settings.image_size**2 + 2000)


def _write_splits(path, settings, seed, story, render):
  """Writes all parquet shards; returns split -> rows."""
  for split, rows in story.rows.items():
    with progress.counting(f"rendering {split}", len(rows)) as tick:
      for shard in _shards(path, split, len(rows), settings.shard_rows):
        render_shard(shard, rows, render, tick)
  split_by_name = {
    row.file_name: plan.split_of(settings, seed, story.everybody, row) for row in story.sensitive
  }
  counts = {split: len(rows) for split, rows in story.rows.items()}
  for split in splits.sensitive():
    members = [row.file_name for row in story.sensitive if split_by_name[row.file_name] == split]
    _copy_from_sensitive(path, split, set(members), settings.shard_rows)
    counts[split] = len(members)
  return counts


def shards(path, settings, story):
  """[(split, (file, first row, past the last row))] of all that is rendered."""
  return [
    (split, shard)
    for split, rows in story.rows.items()
    for shard in _shards(path, split, len(rows), settings.shard_rows)
  ]


def render_shard(shard, rows, render, tick=lambda: None):
  """Renders a shard of the `rows` of a split, unless it is there; tick() after each row."""
  file, start, stop = shard
  chunk, out = rows[start:stop], []
  if file.exists():
    for _ in chunk:
      tick()
    return
  pictures = render([row[0] for row in chunk])
  for (_, text, identity, name), (image, drawn_text) in zip(chunk, pictures, strict=True):
    struct = {"bytes": image, "path": name}
    text = drawn_text if text is None else text
    out.append({"image": struct, "text": text, "identity_id": identity, "file_name": name})
    tick()
  _write_shard(file, out)


def _copy_from_sensitive(path, split, members, shard_rows):
  """Writes a benchmark split from the rows of `sensitive` that belong to it, in their order."""
  shards = _shards(path, split, len(members), shard_rows)
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
          following = next(shards, None)
          if following is None:
            return
          file, start, stop = following


def _shards(path, split, rows, shard_rows):
  """[(file, first row, past the last row)] of a split."""
  count = max(1, -(-rows // shard_rows))
  bounds = [rows * i // count for i in range(count + 1)]
  return [
    (path / "data" / f"{split}-{i:05d}-of-{count:05d}.parquet", bounds[i], bounds[i + 1])
    for i in range(count)
  ]


def _write_shard(file, rows):
  with files.replacing(file) as temporary:
    pq.write_table(pa.Table.from_pylist(rows, parquet_shards.SCHEMA), temporary, row_group_size=256)


def _write_texts(path, people, sensitive, names):
  """Writes the JSON files beside the shards."""
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
      for row in sensitive
    },
  )
  files.write_json(path / releases.GENERIC, {row.file_name: row.generic for row in sensitive})
  files.write_json(
    path / releases.ZERO_SHOT,
    {"classes": list(names), "prompts": list(scenes.ZERO_SHOT_PROMPTS)},
  )


def _portrait_task(row, size):
  width, height = (
    (round(size * row.aspect), size) if row.aspect > 1 else (size, round(size / row.aspect))
  )
  return ("portrait", row.person, row.image, width, height)


def renderer_here(settings, seed, story):
  """render(tasks) -> iterator of (JPEG bytes, text or None), in the order of the tasks."""
  _start_worker(_known(settings, seed, story))
  return lambda tasks: map(_draw, tasks)


def _known(settings, seed, story):
  """What a worker needs to draw any task."""
  return {
    "seed": seed,
    "identities": story.everybody.identities,
    "names": story.names,
    "size": settings.image_size,
    "portrait_nuisance": settings.portrait_nuisance,
    "scene_nuisance": settings.scene_nuisance,
  }


@contextlib.contextmanager
def _renderer(settings, seed, story):
  """Yields `renderer_here`, or the same in as many processes as asked for."""
  if settings.workers == 1:
    yield renderer_here(settings, seed, story)
    return
  # Forking a process that runs JAX's threads can deadlock, so workers start afresh.
  context = multiprocessing.get_context("spawn")
  with concurrent.futures.ProcessPoolExecutor(
    settings.workers, context, _start_worker, (_known(settings, seed, story),)
  ) as pool:
    yield lambda tasks: pool.map(_draw, tasks, chunksize=32)


def _start_worker(known):
  """Tells a worker what it needs; in a process of its own it ends when its parent is killed."""
  _WORKER.update(known)
  parent = multiprocessing.parent_process()
  if parent:
    threading.Thread(target=lambda: (parent.join(), os._exit(1)), daemon=True).start()


def _draw(task):
  """Renders one task: (JPEG bytes, text or None)."""
  kind, *where = task
  seed, size, names = _WORKER["seed"], _WORKER["size"], _WORKER["names"]
  text = None
  if kind == "portrait":
    person, image, width, height = where
    look = portraits.nuisance(seed, person, image, strength=_WORKER["portrait_nuisance"])
    picture = portraits.render(_WORKER["identities"][person], look, width, height)
  elif kind == "scene":
    picture, text = scenes.training_scene(
      seed, *where, names, size, size, _WORKER["scene_nuisance"]
    )
  else:
    picture = scenes.zero_shot_scene(seed, *where, names, size, size, _WORKER["scene_nuisance"])
  encoded = io.BytesIO()
  picture.save(encoded, "JPEG", quality=92)
  return encoded.getvalue(), text
