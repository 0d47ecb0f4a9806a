"""Learning rates as data: programs that take them as an argument are compiled once for all rates
and lengths.
"""

import jax.numpy as jnp

from salmu_jax.train import optimizers

LONGEST = 4096  # steps of a run; one length for all, or each would compile anew


def rates(settings, steps):
  """(LONGEST,) learning rates of a run by steps taken. settings: as config.unlearn.NAME.optimizer.

  Raises:
    ValueError: more steps than there are rates.
  """
  if steps > LONGEST:
    raise ValueError(f"A run of {steps} steps; the learning rates here end at {LONGEST}.")
  return optimizers.make_schedule(settings, steps)(jnp.arange(LONGEST))


def optimizer(settings, values):
  """The optimizer of `settings` with these rates, of which its own learning rate is not read."""
  return optimizers.OPTIMIZERS[settings.name](settings, lambda count: values[count])
