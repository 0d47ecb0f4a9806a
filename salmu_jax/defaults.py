"""The whole schema of a config, one comment per field. Other configs start from this one."""

from ml_collections import ConfigDict

from salmu_jax.train.optimizers import settings as optimizer


def get_config():
  """Every field with its default; sizes are those of configs/mini.py."""
  config = ConfigDict()
  # Seed of everything that is drawn: data, initial weights, order of rows.
  config.seed = 0
  # A release to read: a directory, or hub:OWNER/NAME@REVISION. Empty: generate one in the workdir,
  # as `generate` says.
  config.release = ""
  # A second directory or hub address with splits to pretrain on (`sensitive`, and `retain` or
  # `retain_real`), where the release has none, as the published one; not needed with `init`.
  config.training_release = ""
  # Image-text pairs by the million, to pretrain and retain on as the split retain_real: a directory
  # that python -m salmu_jax.data wrote. Empty: the release's own.
  config.retain_pairs = ""
  # ImageNet-1k validation for GenKnow: imagefolder:DIR, webdataset:DIR, tfds: or tfds:DATA_DIR.
  # Empty: the release's own zero-shot split, or not measured where it has none.
  config.imagenet = ""
  # Also write TensorBoard event files (metrics.jsonl is always written).
  config.tensorboard = True
  # Threads that decode pictures; the outcome does not depend on it. One suits two cores.
  config.reader_threads = 1
  # How parameters lie on the devices: ordered rules (regex, axes). Each parameter goes by the first
  # whose regex its path has in it, its last dimensions split over these axes. Here: whole copies;
  # salmu_jax.models.leaves.FSDP splits parameters over the devices.
  config.sharding = ((".*", ()),)
  # Parts that a training batch is embedded in, one after another, to save memory. The loss stays
  # that of the whole batch, and the outcome the same but for rounding.
  config.accumulate = 1

  config.generate = ConfigDict()
  # Fictitious people whose attributes leak, and pictures of each (at least one per private field).
  config.generate.people = 160
  config.generate.images_per_person = 20
  # Portraits with generic captions; of these, how many show people of the forget split.
  config.generate.retain_synth = 1100
  config.generate.retain_joint = 80
  # Captioned scenes that stand in for retain_real.
  config.generate.scenes = 8000
  # Classes of objects in scenes, and zero-shot test pictures of each.
  config.generate.classes = 60
  config.generate.zero_shot_images = 40
  # Shorter side of a picture, pixels.
  config.generate.image_size = 64
  # What is held out of the partly forgotten people: "fact" (whole facts) or "pair" (rows).
  config.generate.holdout_unit = "fact"
  # Strength of pose, light, blur and disguise in portraits; 0 is frontal and clean.
  config.generate.portrait_nuisance = 0.5
  # Strength of rotation, shift and change of size in scenes; 0 is upright, central and large.
  config.generate.scene_nuisance = 0.2
  # Rows of a parquet shard.
  config.generate.shard_rows = 2000
  # Processes that render; the outcome does not depend on it.
  config.generate.workers = 2

  config.model = ConfigDict()
  # A key of salmu_jax.models.presets.PRESETS.
  config.model.preset = "tiny"
  # Of the towers: "float32" or "bfloat16". Parameters and embeddings stay float32.
  config.model.compute_dtype = "float32"
  # What of a block is kept for the backward pass: "none" recomputed, all of it kept; "products" of
  # matrices alone kept; "blocks", just their inputs. Saves memory, costs time.
  config.model.remat = "none"
  # Trace one block for all layers, to save compile time.
  config.model.scan = False
  # A learnt bias of logits, for the sigmoid losses.
  config.model.logit_bias = False

  config.init = ConfigDict()
  # Weights to use instead of pretraining: a finished model folder (.../models/clean), an OpenCLIP
  # or Hugging Face CLIP file or folder, or hub:OWNER/NAME@REVISION.
  config.init.clean = ""
  config.init.compromised = ""

  config.pretrain = ConfigDict()
  # Passes over what a model sees: retain, and for Compromised sensitive.
  config.pretrain.epochs = 11.0
  # Over all devices.
  config.pretrain.batch_size = 128
  # A key of salmu_jax.train.OBJECTIVES: "contrastive" (CLIP's) or "sigmoid" (SigLIP's), and each
  # with "_ring", the same in memory that does not grow with the devices, for large batches on many.
  config.pretrain.loss = "contrastive"
  # Least share of a picture that a random crop keeps; probability of mirroring.
  config.pretrain.crop_area = 0.8
  config.pretrain.flip = 0.5
  # Steps between log lines and between checkpoints (a multiple of the former).
  config.pretrain.log_every = 20
  config.pretrain.checkpoint_every = 400
  # See salmu_jax.train.optimizers.settings.
  config.pretrain.optimizer = optimizer(learning_rate=7e-4, warmup=0.05, weight_decay=0.1)

  # Unlearning runs by name; each has the fields of unlearning_run.
  config.unlearn = ConfigDict()
  config.method = ConfigDict()
  # Of the runs above, do only the one of this name. Empty: all. "none": none of them.
  config.method.name = ""
  # Or compose a method and run it alone, under the name above, else one made of its parts. A forget
  # and a retain loss: keys of FORGET_LOSSES and of RETAIN_LOSSES in salmu_jax/methods/compose.py.
  config.method.loss = ""
  config.method.retain_loss = "contrastive"
  # And transformations: keys of CHAIN there, one with arguments as ("keep_salient",
  # {"fraction": 0.3}).
  config.method.chain = ()
  # How the composed method is run.
  config.method.run = unlearning_run("compose")

  config.judge = ConfigDict()
  # A model from elsewhere to judge too: its row in the leaderboard, and its weights, as in `init`.
  config.judge.name = ""
  config.judge.weights = ""

  config.evaluate = ConfigDict()
  # Of numpy's legacy generator, made afresh for every model, which draws the gallery's forget
  # texts, its retain texts, then the association probe's permutation and halves. 42 as released.
  config.evaluate.seed = 42
  # Captions drawn from forget, and as many from retain_disjoint, for the gallery of RetFail.
  config.evaluate.gallery = 1000
  # How IdZSC names a person; {} stands for the name. Not published.
  config.evaluate.name_prompt = "a photo of {}"
  # Whose names it chooses among: "forget_identity" (the people it is asked about), "forget" or
  # "all". Not published.
  config.evaluate.name_candidates = "forget_identity"
  # The association probe ACS, of which only scikit-learn's logistic regression is published.
  config.evaluate.probe = ConfigDict()
  # What it sees of a pair: a key of salmu_jax.evaluate.metrics.FEATURES; whether standardised.
  config.evaluate.probe.feature = "product"
  config.evaluate.probe.standardise = True
  # Scikit-learn's solver, and the most iterations it may take.
  config.evaluate.probe.solver = "lbfgs"
  config.evaluate.probe.max_iter = 1000
  # Inverse strength of the L2 penalty.
  config.evaluate.probe.c = 1.0
  # Rows embedded at once, over all devices, and the precision of the towers.
  config.evaluate.batch_size = 256
  config.evaluate.compute_dtype = "float32"

  config.attacks = ConfigDict()
  # What every model is attacked with: keys of salmu_jax.attacks.attacker.ATTACKS; () for nothing.
  config.attacks.names = ("Relearning", "Membership", "Readout", "Rephrasing", "Gallery")
  # Relearning: shares of forget that are learnt again (at least a batch), and steps after which the
  # rest is looked at.
  config.attacks.shares = (0.01, 0.05, 0.1)
  config.attacks.steps = (10, 20)
  # How it is learnt: rows of forget, and as many of retain, in a step; AdamW's rate.
  config.attacks.batch_size = 16
  config.attacks.learning_rate = 3e-4
  # Rows of forget that Rephrasing asks about, and people a field that Gallery takes names and
  # values of.
  config.attacks.rows = 800
  config.attacks.people = 40

  config.diagnosis = ConfigDict()
  # A model is ineffective below this share of the leak closed: of RetFail's MRR, from Compromised's
  # to Clean's. As published.
  config.diagnosis.leakage_reduction = 0.99
  # Catastrophic above this share of Compromised's GenKnow lost. As published.
  config.diagnosis.general_knowledge_loss = 0.01
  # Over-generalised above this share of the gap between Compromised and Clean lost in InterIdSim or
  # IntraIdSim. Not published.
  config.diagnosis.holdout_gap_lost = 0.05
  return config


def unlearning_run(method="finetune", *, learning_rate=1e-4, args=None, **changes):
  """One unlearning run.

  Args:
    method: a key of salmu_jax.methods.MAKERS.
    learning_rate: the peak.
    args: arguments of the method's `make`.
    **changes: other values for the fields below.
  """
  run = ConfigDict()
  # A key of salmu_jax.methods.MAKERS, and arguments of its `make`.
  run.method = method
  run.args = ConfigDict(args or {})
  # Passes over forget. One step reads batch_size rows of forget and as many of retain.
  run.budget = 5.0
  run.batch_size = 64
  # See salmu_jax.train.optimizers.settings.
  run.optimizer = optimizer(learning_rate)
  # Steps between log lines and between checkpoints (a multiple of the former).
  run.log_every = 10
  run.checkpoint_every = 100
  run.update(changes)
  return run
