"""Renders a release with Apache Beam, shard by shard: the same bits, on many machines.

Needs requirements-beam.txt. Several machines need a shared file system.
"""

import functools
import json
import os
import pathlib
from collections.abc import Sequence

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.typehints.decorators import no_annotations
from ml_collections import ConfigDict

from salmu_jax.data import beam_output
from salmu_jax.generate import generator
from salmu_jax.runtime import places


def generate(
  settings: ConfigDict, seed: int, path: str | os.PathLike, options: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
  """Makes a release as `generator.generate` does, with images rendered by Beam.

  Args:
    settings: `config.generate`.
    seed: of everything drawn.
    path: the directory to make, on a disk or in a bucket.
    options: for Beam, such as "--runner=FlinkRunner".

  Returns:
    {"counts": {split: rows}}.

  Raises:
    InputError: see `generator.generate`.
  """
  place = places.folder(path, "--output")
  path = beam_output.folder(place, options)
  settings_json = json.dumps(settings.to_dict(), sort_keys=True)

  def render_shards(folder):
    contents = _contents(settings_json, seed)
    missing = [
      (split, str(file), start, stop)
      for split, (file, start, stop) in generator.list_shards(folder, settings, contents)
      if not file.exists()
    ]
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
      shards = pipeline | beam.Create(missing) | beam.Reshuffle()
      _ = shards | beam.Map(render_shard, settings_json, seed)

  facts = generator.generate(settings, seed, path, render_shards)
  beam_output.send(place)
  return facts


@no_annotations  # Beam would choose its coders by our type hints.
def render_shard(shard: tuple[str, str, int, int], settings_json: str, seed: int) -> None:
  """Renders one (split, file, first row, past the last row) on a worker."""
  split, file, start, stop = shard
  contents = _contents(settings_json, seed)
  render = generator.local_renderer(ConfigDict(json.loads(settings_json)), seed, contents)
  count = beam.metrics.Metrics.counter("generate", f"rows of {split}")
  rows = contents.rows[split]
  generator.render_shard((pathlib.Path(file), start, stop), rows, render, count.inc)


@functools.lru_cache(maxsize=1)
def _contents(settings_json, seed):
  return generator.draw_contents(ConfigDict(json.loads(settings_json)), seed)
