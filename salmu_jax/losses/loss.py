"""The type of a loss, the mark of losses that compare with the reference, and weighted sums."""

from collections.abc import Callable

import jax

from salmu_jax.models.clip import Embeddings

# loss(z, reference) -> (): z and reference are Embeddings of one batch.
Loss = Callable[[Embeddings, Embeddings | None], jax.Array]


def comparing(loss: Loss) -> Loss:
  """Decorator: marks a loss that compares with the reference, and so needs one."""
  loss.compares = True
  return loss


def compares(loss: Loss) -> bool:
  """Whether a loss is marked as comparing with the reference."""
  return getattr(loss, "compares", False)


def weighted(*terms: tuple[float, Loss]) -> Loss:
  """The loss sum_k w_k loss_k of pairs (w_k, loss_k); it compares where one of them does."""

  def loss(z, reference=None):
    return sum(weight * term(z, reference) for weight, term in terms)

  return comparing(loss) if any(compares(term) for _, term in terms) else loss
