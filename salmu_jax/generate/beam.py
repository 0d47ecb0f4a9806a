"""Renders the pictures of a release by Apache Beam, a shard at a time: the same bits, on many
machines.

Needs requirements-beam.txt, and for machines besides this one a file system that all of them see.
"""

import functools
import json
import pathlib

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from ml_collections import ConfigDict

from salmu_jax.generate import generator


def generate(settings, seed, path, options=()):
  """Makes a release as `release.generate` does, its pictures rendered by Beam.

  Args:
    settings, seed, path: as there.
    options: for Beam, such as "--runner=FlinkRunner".

  Returns:
    {"counts": {split: rows}}.

  Raises:
    InputError: as there.
  """
  path = pathlib.Path(path).absolute()
  given = json.dumps(settings.to_dict(), sort_keys=True)

  def render(folder):
    story = _story(given, seed)
    todo = [
      (split, str(file), start, stop)
      for split, (file, start, stop) in generator.shards(folder, settings, story)
      if not file.exists()
    ]
    with beam.Pipeline(options=PipelineOptions(list(options))) as pipeline:
      _ = pipeline | beam.Create(todo) | beam.Reshuffle() | beam.Map(render_one, given, seed)

  return generator.generate(settings, seed, path, render)


def render_one(shard, given, seed):
  """Renders one (split, file, first row, past the last row) on a worker."""
  split, file, start, stop = shard
  story = _story(given, seed)
  render = generator.renderer_here(ConfigDict(json.loads(given)), seed, story)
  done = beam.metrics.Metrics.counter("generate", f"rows of {split}")
  generator.render_shard((pathlib.Path(file), start, stop), story.rows[split], render, done.inc)


@functools.lru_cache(maxsize=1)
def _story(given, seed):
  return generator.tell(ConfigDict(json.loads(given)), seed)
