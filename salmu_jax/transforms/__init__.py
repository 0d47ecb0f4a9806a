"""Unlearning as optax gradient transformations.

The update that enters a chain is the gradient of the forget loss; the gradient of the retain loss
comes as the keyword-only extra argument `retain_grads`, a tree like the updates. All keep the
tree's shape and the updates' dtypes, and ignore extra arguments meant for others.

`mixing` weighs the two gradients against each other; like `distance`, it goes before the optimizer.
`limits`, `measured`, `two_sided` and `layers` restrict where an update may go, and stand after the
optimizer: before it, weight decay or momentum would leak past a limit. `edits` and `merging` change
the weights once, at the end of the budget; `noising` damages them in the middle of it. `rates`
scales an update by the learning rate of its step.
"""

from salmu_jax.transforms.distance import reward_distance
from salmu_jax.transforms.edits import add_noise, add_noise_by_importance, dampen, reflect
from salmu_jax.transforms.layers import (
  find_fisher_layers,
  find_layers,
  find_order,
  grow_layers,
  select_layers,
)
from salmu_jax.transforms.limits import only, train_only, trust_region
from salmu_jax.transforms.low_rank import low_rank
from salmu_jax.transforms.measured import (
  divide_by_importance,
  find_basis,
  find_salient,
  hold_unimportant,
  keep_salient,
  measure_freedom,
  measure_importance,
  project_out,
)
from salmu_jax.transforms.merging import reflect_merged, soup
from salmu_jax.transforms.mixing import (
  add_retain,
  alternate,
  in_stages,
  munba,
  project_conflicts,
)
from salmu_jax.transforms.noising import undo
from salmu_jax.transforms.rates import scale_by_rates
from salmu_jax.transforms.two_sided import find_subspaces, project_both

__all__ = [
  "add_noise",
  "add_noise_by_importance",
  "add_retain",
  "alternate",
  "dampen",
  "divide_by_importance",
  "find_basis",
  "find_fisher_layers",
  "find_layers",
  "find_order",
  "find_salient",
  "find_subspaces",
  "grow_layers",
  "hold_unimportant",
  "in_stages",
  "keep_salient",
  "low_rank",
  "measure_freedom",
  "measure_importance",
  "munba",
  "only",
  "project_both",
  "project_conflicts",
  "project_out",
  "reflect",
  "reflect_merged",
  "reward_distance",
  "scale_by_rates",
  "select_layers",
  "soup",
  "train_only",
  "trust_region",
  "undo",
]
