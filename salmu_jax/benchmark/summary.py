"""The table that a run prints when it starts: what it will do."""

import jax
from rich.table import Table

from salmu_jax.benchmark import provenance, stages
from salmu_jax.benchmark.job import Job
from salmu_jax.data.dataset import Data
from salmu_jax.runtime import compilations


def table(job: Job, data: Data) -> Table:
  """What a job will do: lines for the data, the model and every stage."""
  config, release = job.config, data.release
  lines = Table(title="salmu_jax", show_header=False, title_justify="left")
  lines.add_row("workdir", str(job.workdir))
  if job.scratch != job.workdir:
    lines.add_row("scratch", str(job.scratch))
  lines.add_row("release", f"{release.name} in {release.path} ({release.digest[:12]})")
  counts = [f"{split} {count:,}" for split, count in sorted(release.counts.items())]
  lines.add_row("rows", ", ".join(counts))
  parameters = f"{provenance.parameter_count(job.model):,} parameters"
  lines.add_row("model", f"{config.model.preset}, {parameters}, {config.model.compute_dtype}")
  tokenizer = data.tokenizer
  lines.add_row("tokens", f"{tokenizer.vocab_size:,} ids, {tokenizer.context_length} a text")
  devices = f"{job.mesh.size} x {jax.devices()[0].device_kind}, {jax.process_count()} process(es)"
  lines.add_row("devices", f"{devices}, mesh data={job.mesh.size}")
  lines.add_row("compiled programs", compilations.describe())
  for stage, plan in _stages(job, data):
    lines.add_row(stage, plan)
  return lines


def _stages(job: Job, data: Data) -> list[tuple[str, str]]:
  """(stage, what it will do) in time order."""
  config, release = job.config, data.release
  plans = []
  for name in stages.bounds(config):
    if config.init[name]:
      plans.append((f"weights of {name}", config.init[name]))
    else:
      steps = stages.pretrain_schedule(job, release, name).total_steps
      plan = f"{steps:,} steps of {config.pretrain.batch_size} pairs"
      plans.append((f"pretrain {name}", plan))
  for name, run in config.unlearn.items():
    steps = stages.unlearn_schedule(job, release, name).total_steps
    pairs = f"{run.batch_size} + {run.batch_size} pairs"
    plans.append((f"unlearn {name}", f"{steps:,} steps of {pairs}, budget {run.budget:g}x"))
  if config.judge.name:
    plans.append((f"judge {config.judge.name}", config.judge.weights))
  return plans
