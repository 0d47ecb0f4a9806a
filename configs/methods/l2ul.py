"""L2UL. In-batch adversarial anchors; weights are ours."""

from salmu_jax.defaults import unlearning_run


def mini():
  return unlearning_run("l2ul", learning_rate=3e-05, args=dict(anchors=0.1), tuning="tuned")


def vit_b16():
  return unlearning_run("l2ul", learning_rate=1e-6, batch_size=256, tuning="reproduction")
