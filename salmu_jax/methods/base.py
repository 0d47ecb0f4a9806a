"""What an unlearning method is: two losses and a gradient transformation."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import optax

from salmu_jax import ranges
from salmu_jax.losses import Loss
from salmu_jax.methods import robust
from salmu_jax.train.points import Point
from salmu_jax.transforms.measured import Prepare

# Arguments of a `make` that come from the run and not from `args`: its number of steps and its
# seed.
OF_THE_RUN = ("steps", "seed")


class Surrogates(NamedTuple):
  """The made-up captions that come with every row of forget, see `salmu_jax.methods.surrogates`.

  count: of surrogates per row. source: one of `surrogates.SOURCES`. reworded: the share of forget
    captions and surrogates whose words are loosened.
  """

  count: int
  source: str
  reworded: float


class Method(NamedTuple):
  """How to unlearn; the trainer owns forward passes, sharding and the frozen reference.

  forget_loss, retain_loss: `loss(z, reference) -> ()` on the embeddings of the forget and the
    retain half of a batch (`salmu_jax.losses`). None if the method does not read the half: it is
    then not embedded, its gradient is zero, and its loss is not logged.
  tx: an optax transformation. It gets the gradient of the forget loss as the update and the
    gradient of the retain loss as the extra argument `retain_grads`. Its output is added to the
    parameters, so the chain ends with an optimizer, or with what limits the optimizer's update.
  prepares: functions `prepare(opt_state, gradients) -> opt_state`, run before the first step to put
    statistics of the data into the optimizer's state. `gradients()` yields {"forget": tree,
    "retain": tree}, at the starting parameters, for every batch of one pass over forget. Each
    function makes its own pass, over the same rows.
  surrogates: the made-up captions of the forget half, or None.
  image_tower: whether the image tower may move. If not, pictures are embedded once for the whole
    run.
  split: the forget loss as a sum of two: a loss that forgets, and one that holds something else in
    place. A point moves the gradient of the first alone. None: all of the loss forgets.
  point: where the forget gradient is taken; its state is in that of `tx`. None: at the parameters
    of the run. `build` sets it (`salmu_jax.methods.robust`).
  """

  forget_loss: Loss | None
  retain_loss: Loss | None
  tx: optax.GradientTransformation
  prepares: tuple[Prepare, ...] = ()
  surrogates: Surrogates | None = None
  image_tower: bool = True
  split: tuple[Loss, Loss] | None = None
  point: Point | None = None

  @property
  def losses(self) -> dict[str, Loss]:
    """{"forget": loss, "retain": loss}, without the halves that the method does not read."""
    halves = {"forget": self.forget_loss, "retain": self.retain_loss}
    return {half: loss for half, loss in halves.items() if loss is not None}

  @property
  def reads(self) -> tuple[str, ...]:
    """Which of "forget" and "retain" the outcome depends on; stated in every result."""
    return tuple(self.losses)


def build(
  make: Callable[..., Method],
  optimizer: optax.GradientTransformation,
  args: Mapping[str, Any],
  *,
  steps: int,
  seed: int,
) -> Method:
  """Makes a method from its own arguments, and from `steps` and `seed` if `make` takes them.

  Every method also takes the argument `robust`, see `salmu_jax.methods.robust`.

  Raises:
    InputError: an argument is outside the range that `make` annotates; the message names it.
  """
  own = {name: value for name, value in args.items() if name != robust.FIELD}
  ranges.check(make, own)
  of_the_run = {"steps": steps, "seed": seed}
  needed = {k: v for k, v in of_the_run.items() if k in inspect.signature(make).parameters}
  method = make(optimizer, **own, **needed)
  if robust.FIELD not in args:
    return method
  forgets = method.forget_loss is not None
  changes = robust.made(args[robust.FIELD], method.tx, forgets, **of_the_run)
  return method._replace(tx=changes.tx, point=changes.point)


def arguments(make: Callable[..., Method]) -> list[str]:
  """Names of the arguments of a method that a config gives."""
  own = [name for name in list(inspect.signature(make).parameters)[1:] if name not in OF_THE_RUN]
  return [*own, robust.FIELD]
