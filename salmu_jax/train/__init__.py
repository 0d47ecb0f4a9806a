"""Training: one jitted step for pretraining, one for unlearning, and the loop that runs either.

`step` holds the steps as pure functions, `programs` compiles them with the shardings of `state`,
and `loop` runs them with logging and checkpoints. `optimizers`, `accumulate`, `checkpoint` and
`writer` are modules of their own.
"""

from salmu_jax.train.loop import PACE, Schedule, fit
from salmu_jax.train.programs import (
  Program,
  cutting_step,
  in_batches,
  jitted_gradients,
  jitted_pretrain_step,
  jitted_unlearn_step,
  on_host_batches,
  prepared,
  pretrain_program,
  unlearn_program,
)
from salmu_jax.train.state import TrainState, init_params, new_state, start_state, state_layout
from salmu_jax.train.step import (
  OBJECTIVES,
  embed,
  make_pretrain_step,
  make_unlearn_step,
)

__all__ = [
  "OBJECTIVES",
  "PACE",
  "Program",
  "Schedule",
  "TrainState",
  "cutting_step",
  "embed",
  "fit",
  "in_batches",
  "init_params",
  "jitted_gradients",
  "jitted_pretrain_step",
  "jitted_unlearn_step",
  "make_pretrain_step",
  "make_unlearn_step",
  "new_state",
  "on_host_batches",
  "prepared",
  "pretrain_program",
  "start_state",
  "state_layout",
  "unlearn_program",
]
