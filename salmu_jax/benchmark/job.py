"""What a job is: a config, where it writes, what it runs on, and the model that it trains."""

import pathlib
from typing import NamedTuple

from jax.sharding import Mesh
from ml_collections import ConfigDict

from salmu_jax.interop import external_models
from salmu_jax.models.clip import CLIP
from salmu_jax.runtime import hosts
from salmu_jax.runtime.places import Place


class Job(NamedTuple):
  """One job of the benchmark; together with `salmu_jax.data.dataset.Data` all that a stage needs.

  Attributes:
    config: the checked config, with just the runs that are to be done.
    workdir: the folder of results, models, checkpoints and logs; may be in a bucket.
    scratch: the folder on the disk of what is read at random and can be made again: records,
      decoded pictures, embeddings, copies of what lies in a bucket. See `places.scratch`.
    mesh: the devices.
    model: the CLIP module, its vocabulary that of the data.
    stop: ends training between two steps when SIGTERM comes; None where nothing does.
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
