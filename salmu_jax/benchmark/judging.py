"""Judging: every model through the one evaluator, and what its results file says of its making."""

import functools
import time

from clu import parameter_overview

from configs import methods
from salmu_jax import attacks, train
from salmu_jax.attacks.base import Inputs
from salmu_jax.benchmark import stages
from salmu_jax.benchmark.stages import PRETRAINED
from salmu_jax.data import releases
from salmu_jax.data.leaks import leaks
from salmu_jax.errors import InputError
from salmu_jax.evaluate.evaluator import Evaluator
from salmu_jax.interop import external_models
from salmu_jax.methods import METHODS
from salmu_jax.models import clip
from salmu_jax.results import metrics_table
from salmu_jax.runtime import files, hosts, progress, workdir
from salmu_jax.train import checkpoint, writer

_TRAINING_FACTS = ("reads", "moves", "steps", "wall_seconds", "device", "versions")


def make_evaluator(setup):
  """The one evaluator that judges every model."""
  return Evaluator(
    setup.model,
    setup.release,
    setup.records,
    setup.tokenizer,
    setup.config.evaluate,
    setup.mesh,
    cache=setup.folder / "class_weights",
    zero_shot_set=setup.zero_shot,
    threads=setup.config.reader_threads,
  )


def make_attacker(setup, evaluator, clean):
  """What attacks every model, see `attacks.attacker`; None where config.attacks names no attack."""
  if not setup.config.attacks.names:
    return None
  return attacks.attacker(attack_inputs(setup, evaluator, clean), setup.config.attacks)


def attack_inputs(setup, evaluator, clean):
  """What attacks start from, see `Inputs`; `clean` are the parameters of the Clean model."""
  return Inputs(
    data=setup.data,
    evaluator=evaluator,
    clean=clean,
    leaks=leaks(setup.release, evaluator.tables["forget"]),
    seed=setup.config.seed,
    name_prompt=setup.config.evaluate.name_prompt,
    program=functools.partial(train.unlearn_program, setup.config, setup.model, setup.mesh),
    mesh=setup.mesh,
    image_size=setup.model.sizes.image_size,
    threads=setup.config.reader_threads,
  )


def store_fragile_set(setup, evaluator, compromised):
  """Completes a release that has no fragile set yet, as Compromised judges it (protocol: Data)."""
  if releases.read_fragile(setup.release) is None:
    split, mask = evaluator.derived()["retain_disjoint"]
    names = releases.columns(setup.release, split)["file_name"]
    cosines = evaluator.similarities(compromised, split)
    hosts.first_alone(lambda: releases.write_fragile(setup.release, names[mask], cosines[mask]))


def is_evaluated(setup, name):
  """Whether results/<name>.json is there.

  Raises:
    InputError: it is, but was made with another config.
  """
  path = _result_path(setup, name)
  if not path.exists():
    return False
  if files.read_json(path).get("salmu_jax", {}).get("inputs") != result_inputs(setup, name):
    raise InputError(
      f"{path} was made with another config, or by an older version. Choose another --workdir, or "
      "delete that file to have the model evaluated again."
    )
  return True


def evaluate(setup, evaluator, name, params, attacker=None):
  """Writes results/<name>.json, and compat/<name>.json for other readers, unless they are there.

  Args:
    attacker: of `make_attacker`.
  """
  if is_evaluated(setup, name):
    return
  began = time.monotonic()
  results = evaluator.run(params, f"evaluate {name}", attacker)
  weights = checkpoint.digest(params)
  if not hosts.is_first():
    return
  about = _provenance(setup, evaluator, name)
  about |= {
    "additional": results.pop("salmu_jax")["additional"],
    "weights_sha256": weights,
    "inputs": result_inputs(setup, name),
    "evaluation_seconds": time.monotonic() - began,
  }
  # The results come last: where they are, so is the other.
  files.write_json(setup.folder / "compat" / f"{name}.json", metrics_table.compat(results))
  files.write_json(_result_path(setup, name), {**results, "salmu_jax": about})
  progress.console.print(f"evaluate {name}: {workdir.duration(time.monotonic() - began)}")


def _result_path(setup, name):
  return setup.folder / "results" / f"{name}.json"


def result_inputs(setup, name):
  """A digest of all that a model's results depend on."""
  if name in setup.config.unlearn:
    made = stages.unlearn_settings(setup, name)
  elif name in PRETRAINED:
    made = stages.start_digest(setup, name)
  else:
    made = external_models.digest(setup.model_folder(name))
  known = setup.zero_shot.content if setup.zero_shot else None
  fragile = releases.read_fragile(setup.release)
  preset = setup.config.model.preset
  # Where nothing is attacked, results are those of before there were attacks.
  attacked = [setup.config.attacks.to_dict()] if setup.config.attacks.names else []
  judged = [_evaluation(setup), *attacked, known]
  return files.digest([made, preset, setup.release.digest, fragile, *judged])


def _evaluation(setup):
  """What of config.evaluate the outcome depends on."""
  settings = setup.config.evaluate.to_dict()
  del settings["batch_size"]
  return settings


def _provenance(setup, evaluator, name):
  """What a result says of where it comes from; of training, what the training itself noted."""
  config, release, folder = setup.config, setup.release, setup.model_folder(name)
  facts = files.read_json(folder / workdir.DONE)
  made = files.read_json(folder / workdir.SETTINGS)
  bound = name in PRETRAINED
  budget = made.get("budget")
  return {
    "model": name,
    "role": name if bound else "unlearned",
    "method": made.get("method"),
    "settings": _made_with(made, facts),
    "budget": None if budget is None else float(budget),
    # Nobody knows what foreign weights were unlearned from.
    "start": stages.start_digest(setup, name) if bound else made.get("start"),
    "seed": made["seed"],
    **{key: facts[key] for key in _TRAINING_FACTS},
    "tuning": None if bound else tuning(config.unlearn.get(name)),
    "prepare_passes": facts.get("prepare_passes", 0),
    "surrogates": facts.get("surrogates"),
    "architecture": config.model.to_dict(),
    "parameters": parameter_count(setup),
    "release": {
      "name": release.name,
      "manifest_sha256": release.digest,
      "holdout_unit": release.manifest.get("settings", {}).get("holdout_unit", "pair"),
      "retrieval_gallery": evaluator.gallery_size(),
      "fragile_set_sha256": files.digest(releases.read_fragile(release)),
      "counts": release.counts,
      "derived": {k: int(m.sum()) for k, (_, m) in evaluator.derived().items()},
    },
    "evaluation": _evaluation(setup),
    "attacks": config.attacks.to_dict(),
    "general_knowledge": _general_knowledge(setup),
    "curve": _curve(folder / "metrics.jsonl"),
  }


def _made_with(made, facts):
  """The settings of a model's training here, or where its weights are from."""
  if "imported" in made:
    return facts["weights"]
  rest = {k: v for k, v in made.items() if k not in ("seed", "start", "release", "model")}
  return rest.get("pretrain", rest)


# Where the settings of a run are from -> the function of configs/methods/NAME.py that has them.
_TUNING = {"tuned": "mini", "reproduction": "vit_b16"}
# Fields of a run that are no matter of tuning.
_FREE = ("budget", "log_every", "checkpoint_every")


def tuning(run):
  """Whose settings a run has: "tuned", those that the search chose, "reproduction", the published,
  or "own".

  Args:
    run: of config.unlearn; None for weights from elsewhere, of which nothing is known: None too.
  """
  if run is None:
    return None
  chosen = lambda run: {k: v for k, v in run.to_dict().items() if k not in _FREE}
  for word, size in _TUNING.items():
    if run.method in METHODS and chosen(methods.runs(run.method, size)[run.method]) == chosen(run):
      return word
  return "own"


def _general_knowledge(setup):
  if setup.zero_shot:
    return setup.zero_shot.name
  return "not measured: config.imagenet names no ImageNet, and the release has no zero-shot split"


def _curve(path):
  """The training metrics of a model; weights that were brought in have none."""
  rows = writer.read(path) if path.exists() else []
  return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def parameter_count(setup):
  """Number of scalars in the model."""
  shapes = clip.shapes(setup.model)
  return int(parameter_overview.count_parameters(shapes))
