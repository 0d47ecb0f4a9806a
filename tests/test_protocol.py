"""What no method may read is planted where it would be found, and nobody opens it."""

import littlejob
import pytest

from salmu_jax import defaults, train
from salmu_jax.benchmark import stages
from salmu_jax.data import pipeline
from salmu_jax.generate import sentences
from salmu_jax.methods import MAKERS

ALLOWED = {*pipeline.READABLE["forget"], *pipeline.READABLE["retain"]}
# A composed method that is made robust stands for all that `config.method` can ask for.
COMPOSED = {"loss": "component_removed", "chain": ("add_retain",), "robust": ("sam", {"rho": 0.1})}


class Guarded(dict):
  """A dict of which only some keys may be looked up."""

  def __init__(self, content, allowed):
    super().__init__(content)
    self._allowed = allowed

  def __getitem__(self, key):
    if key not in self._allowed:
      raise AssertionError(f"opened {key}")
    return super().__getitem__(key)

  def get(self, key, default=None):
    return self[key] if key in self else default

  def items(self):
    raise AssertionError("opened all")

  values = items


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
  """(job, data) whose holdouts, held-out wordings and Clean model cannot be opened unseen."""
  job, data = littlejob.make(tmp_path_factory.mktemp("protocol"))
  folder = data.release.path / "data"
  forbidden = [path for path in folder.iterdir() if path.name.startswith("holdout")]
  assert forbidden and {"holdout_identity", "holdout_association"} <= {*data.release.counts}
  for path in forbidden:
    path.unlink()
  clean = job.model_folder("clean")
  clean.parent.mkdir(parents=True)
  clean.write_text("whoever opens this folder finds a file")
  with pytest.MonkeyPatch.context() as patch:
    whole = sentences.parts()
    allowed = {*whole} - {"held_out"}
    patch.setattr(sentences, "parts", lambda: Guarded(whole, allowed))
    yield job, data._replace(records=Guarded(data.records, ALLOWED))


def test_what_is_planted_is_found_when_it_is_opened(planted):
  job, data = planted
  with pytest.raises(AssertionError, match="opened holdout_identity"):
    data.records["holdout_identity"]
  with pytest.raises(AssertionError, match="opened held_out"):
    sentences.held_out("blood_type", True, None)
  with pytest.raises(OSError):
    (job.model_folder("clean") / "params").open()


@pytest.mark.parametrize("name", MAKERS)
def test_the_data_of_a_method_are_made_without_what_is_held_out(planted, name):
  job, data = planted
  args = COMPOSED if name == "compose" else {}
  job = littlejob.changed(job)
  job.config.unlearn = {"mine": defaults.unlearning_run(name, batch_size=4, args=args)}
  method = stages.make_method(job, data.release, "mine")
  examples = stages.unlearning_examples(job, data, method.surrogates)
  for k in range(16):
    assert examples[k].keys() <= {"forget", "retain"}


@pytest.mark.parametrize("name", ["anchored", "ssd"])
def test_a_method_runs_to_its_end_without_what_is_held_out(planted, name):
  job, data = planted
  job = littlejob.changed(job)
  job.config.unlearn = {name: defaults.unlearning_run(name, batch_size=4, budget=1.0)}
  stages.unlearn(job, data, name, train.init_params(job.model, 0, job.mesh))
