"""A job: a config, its output folder, its devices, and the model that it trains."""

import pathlib
from typing import NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.interop import external_models
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import hosts
from salmu_jax.runtime.places import Place


class Job(NamedTuple):
  """One job of the benchmark. A stage needs it and its `salmu_jax.data.dataset.Data`.

  Attributes:
    config: the checked config, with only the selected runs.
    workdir: the folder of results, models, checkpoints and logs; may be in a bucket.
    scratch: the folder on the local disk of files that are read at random and can be rebuilt:
      records, decoded images, embeddings, copies from a bucket. See `places.scratch`.
    mesh: the devices.
    model: the CLIP module, with the vocabulary of the data.
    stop: stops training between two steps on SIGTERM; or None.
    profile: the first and the last training step to trace; None for no trace.
  """

  config: ConfigDict
  workdir: Place
  scratch: pathlib.Path
  mesh: Mesh
  model: CLIP
  stop: hosts.Stop | None = None
  profile: tuple[int, int] | None = None

  def model_folder(self, name: str) -> Place:
    """The folder of a model's checkpoints, metrics and weights."""
    return external_models.model_folder(self.config, self.workdir, name)
