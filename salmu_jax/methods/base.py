"""What an unlearning method is: two losses and a gradient transformation."""

from collections.abc import Callable
from typing import NamedTuple

import optax


class Method(NamedTuple):
  """How to unlearn; the trainer owns forward passes, sharding and the frozen reference.

  forget_loss, retain_loss: `loss(z, reference) -> ()` on the embeddings of the forget and of the
    retain half of a batch (`salmu_jax.losses`).
  tx: an optax transformation. It gets the gradient of the forget loss as the update and the
    gradient of the retain loss as the extra argument `retain_grads`; its output is added to the
    parameters, so an optimizer ends the chain.
  reads: which of "forget" and "retain" the update depends on; stated in every result. The loss of a
    half that is not read is still computed for the log.
  prepare: None, or `prepare(opt_state, gradients) -> opt_state`, run once before the first step to put
    statistics of the data into the optimizer's state. `gradients()` yields {"forget": tree,
    "retain": tree}, at the starting parameters, for every batch of one pass over forget.
  """

  forget_loss: Callable
  retain_loss: Callable
  tx: optax.GradientTransformationExtraArgs
  reads: tuple[str, ...] = ("forget", "retain")
  prepare: Callable | None = None
