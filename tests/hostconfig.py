"""The smoke benchmark with fewer people and steps, for runs of several processes."""

from salmu_jax import defaults
from tests import runconfig


def get_config(names=""):
  config = runconfig.get_config(names or "finetune")
  config.generate.update(people=8, images_per_person=8, retain_synth=20, retain_joint=4)
  config.generate.update(scenes=60, classes=10, zero_shot_images=2, image_size=32)
  config.attacks.names = ("Relearning", "Gallery")
  config.attacks.relearning.update(shares=(0.3,), steps=(2,), batch_size=8)
  config.attacks.gallery.people = 4
  config.tensorboard = False
  # Not Adam: it would blow up the rounding of gradients that are zero but for it.
  config.pretrain.optimizer = defaults.optimizer(1e-2, name="sgd")
  config.pretrain.update(epochs=2.0, batch_size=16, log_every=4, checkpoint_every=8)
  for run in config.unlearn.values():
    # Many steps, so that there is time to interrupt them.
    run.update(budget=10.0, batch_size=8, log_every=2, checkpoint_every=8)
    run.optimizer = defaults.optimizer(1e-3, name="sgd")
  return config
