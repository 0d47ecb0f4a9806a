"""The schema of a config: every field with its default and a comment. Configs start from here."""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from salmu_jax import attacks
from salmu_jax.methods import runs
from salmu_jax.train.optimizers import settings as optimizer


def get_config() -> ConfigDict:
  """All fields with their defaults; sizes suit a laptop."""
  config = ConfigDict()
  # Seed of everything random: data, initial weights, order of rows.
  config.seed = 0
  # Release to read: a directory, or hub:OWNER/NAME@REVISION. Empty: one made with `generate`.
  config.release = ""
  # Second directory or hub address, with the pretraining splits (`sensitive`, and `retain` or
  # `retain_real`), for a release without them, such as the published one. Not needed with `init`.
  config.training_release = ""
  # Millions of image-text pairs for pretraining and for retain, as the split retain_real: a
  # directory written by python -m salmu_jax.data. Empty: the rows of the release.
  config.retain_pairs = ""
  # Your own pairs to forget and to retain, instead of a release: JSON-lines files, see
  # salmu_jax/data/own.py; `retain` may also be a folder. The model is config.init.compromised.
  config.forget = ""
  config.retain = ""
  # ImageNet-1k validation set for GenKnow: imagefolder:DIR, webdataset:DIR, tfds: or tfds:DATA_DIR.
  # Empty: the release's zero-shot split; if it has none, GenKnow is not measured.
  config.imagenet = ""
  # Also write TensorBoard event files (metrics.jsonl is always written).
  config.tensorboard = True
  # Weights & Biases project that also gets the training log; needs pip install wandb. Empty: none.
  config.wandb_project = ""
  _add_machine(config)
  # Release that is generated in the workdir.
  config.generate = _generate()
  # The CLIP model.
  config.model = _model()
  # Weights to load instead of pretraining.
  config.init = _init()
  # How Clean and Compromised are trained.
  config.pretrain = _pretrain()
  # Unlearning runs by name; each has the fields of unlearning_run.
  config.unlearn = ConfigDict()
  # Which run of config.unlearn to do, or a method composed on the command line.
  config.method = _method()
  # An external model to evaluate too.
  config.judge = _judge()
  # How every model is evaluated.
  config.evaluate = _evaluate()
  # How every model is attacked; salmu_jax/attacks/NAME.py has the settings of each attack.
  config.attacks = attacks.settings()
  # Thresholds of the verdicts; each is a share, from 0 to 1.
  config.diagnosis = _diagnosis()
  return config


def _add_machine(config: ConfigDict) -> None:
  """Adds settings of the machine; they change results by rounding only."""
  # Local folder for files that can be made again: records, decoded images, embeddings, copies of
  # files in a bucket. Empty: the workdir or, if that is in a bucket, salmu_jax/scratch in the
  # user's cache folder.
  config.scratch = ""
  # Threads that decode images; results do not depend on it. One suits two cores.
  config.reader_threads = 1
  # At most this many GiB of scratch store decoded images at the model's image size: first those of
  # evaluation, then those of unlearning, then those of pretraining if they have that size. Results
  # do not depend on it. 0 stores none.
  config.stored_pictures = 16.0
  # Folder that caches compiled programs for later runs; results do not depend on it. "default" is
  # JAX_COMPILATION_CACHE_DIR or, if that is not set, salmu_jax/compilations in the user's cache
  # folder (XDG_CACHE_HOME or ~/.cache). In a multi-process run "default" without that variable
  # caches nothing: all processes must see the folder, and on CPUs they cannot read programs back at
  # all. "off" caches nothing. Beyond 2 GiB, the least recently used programs are removed. Programs
  # in the folder are executed, so nobody else should be able to write there.
  config.compilation_cache = "default"
  # Sharding of the parameters: ordered rules (regex, axes). The first rule whose regex is found in
  # a parameter's path splits the last dimensions of the parameter over these axes. The default
  # replicates parameters; salmu_jax.models.leaves.FSDP shards them over the devices.
  config.sharding = ((".*", ()),)
  # Number of parts in which a training batch is embedded, one after another, to save memory. The
  # loss is that of the whole batch, so results differ by rounding only.
  config.accumulate = 1


def _generate() -> ConfigDict:
  config = ConfigDict()
  # Fictitious people with private attributes, and images of each (at least one per private field).
  config.people = 160
  config.images_per_person = 20
  # Portraits with generic captions, and how many of them show people of the forget split.
  config.retain_synth = 1100
  config.retain_joint = 80
  # Captioned scenes, in place of retain_real.
  config.scenes = 8000
  # Object classes in scenes, and zero-shot test images per class.
  config.classes = 60
  config.zero_shot_images = 40
  # Shorter side of an image, in pixels.
  config.image_size = 64
  # Unit held out of the partly forgotten people: "fact" (whole facts) or "pair" (single rows).
  config.holdout_unit = "fact"
  # People who share a name, and with it a country; 1 as released.
  config.namesakes = 1
  # How captions of private facts are worded: "templates" (fifteen per field) or "composed" (from
  # parts: about ten thousand sentences per field).
  config.wordings = "templates"
  # Share of these captions that give the value without the name; 0 as released. Needs "composed".
  config.nameless = 0.0
  # Strength of pose, light, blur and disguise in portraits; 0 is frontal and clean.
  config.portrait_nuisance = 0.5
  # Strength of rotation, shift and scaling in scenes; 0 is upright, central and large.
  config.scene_nuisance = 0.2
  # Rows per parquet shard.
  config.shard_rows = 2000
  # Processes that render; results do not depend on it.
  config.workers = 2
  return config


def _model() -> ConfigDict:
  config = ConfigDict()
  # A key of salmu_jax.models.presets.PRESETS. Empty: the sizes of the weights in
  # config.init.compromised.
  config.preset = "tiny"
  # Precision of the towers: "float32" or "bfloat16". Parameters and embeddings stay float32.
  config.compute_dtype = "float32"
  # Rematerialization in the backward pass, which trades time for memory: "none" keeps all
  # activations, "products" keeps matrix products, "blocks" keeps only the inputs of blocks.
  config.remat = "none"
  # Scan over the layers: one block is traced for all of them, to save compile time.
  config.scan = False
  # Attention: "plain", or "cudnn", which is faster and does not store the scores, but needs an
  # NVIDIA GPU and bfloat16.
  config.attention = "plain"
  # A learnt logit bias, for the sigmoid losses.
  config.logit_bias = False
  return config


def _init() -> ConfigDict:
  config = ConfigDict()
  # A finished model folder (.../models/clean), an OpenCLIP or Hugging Face CLIP file or folder, or
  # hub:OWNER/NAME@REVISION, for each of the two. Empty: pretrain the model.
  config.clean = ""
  config.compromised = ""
  return config


def _pretrain() -> ConfigDict:
  config = ConfigDict()
  # Passes over a model's rows: retain and, for Compromised, also sensitive.
  config.epochs = 11.0
  # Global batch size: rows per step, over all devices.
  config.batch_size = 128
  # A key of salmu_jax.train.OBJECTIVES: "contrastive" (CLIP's) or "sigmoid" (SigLIP's). Each has a
  # variant ending in "_ring", for large batches on many devices: its memory does not grow with the
  # number of devices.
  config.loss = "contrastive"
  # Smallest share of an image that a random crop keeps, and the probability of a horizontal flip.
  config.crop_area = 0.8
  config.flip = 0.5
  # Steps between log lines, and between checkpoints (a multiple of the former).
  config.log_every = 20
  config.checkpoint_every = 400
  # See salmu_jax.train.optimizers.settings.
  config.optimizer = optimizer(learning_rate=7e-4, warmup=0.05, weight_decay=0.1)
  return config


def _method() -> ConfigDict:
  config = ConfigDict()
  # Name of the only run of config.unlearn to do. Empty: all runs. "none": no run.
  config.name = ""
  # The losses of a composed method: keys of FORGET_LOSSES and RETAIN_LOSSES in
  # salmu_jax/methods/parts.py. Empty: no method is composed. Otherwise only the composed method
  # runs, under the name above or, without one, a name made of its parts.
  config.loss = ""
  config.retain_loss = "contrastive"
  # Gradient transformations: keys of CHAIN in that file; with arguments, as ("keep_salient",
  # {"fraction": 0.3}).
  config.chain = ()
  # Robustness to relearning: empty for none, or a key of WAYS in salmu_jax/methods/robust.py, as
  # ("sam",) or ("sam", {"rho": 0.1}).
  config.robust = ()
  # Settings of the composed run.
  config.run = unlearning_run("compose")
  return config


def _judge() -> ConfigDict:
  config = ConfigDict()
  # Name of its row in the leaderboard, and its weights, as in `init`. Empty: no external model.
  config.name = ""
  config.weights = ""
  return config


def _evaluate() -> ConfigDict:
  config = ConfigDict()
  # Seed of numpy's legacy generator, which starts anew for every model. In this order it draws the
  # gallery's forget texts, its retain texts, and the permutation and halves of the association
  # probe. 42 as released.
  config.seed = 42
  # Captions drawn from forget for RetFail's gallery; as many are drawn from retain_disjoint.
  config.gallery = 1000
  # Prompt of IdZSC; {} stands for the person's name. Not published.
  config.name_prompt = "a photo of {}"
  # People whose names IdZSC chooses among: "forget_identity" (the people in question), "forget" or
  # "all". Not published.
  config.name_candidates = "forget_identity"
  # The association probe ACS. Only its model, scikit-learn's logistic regression, is published.
  config.probe = ConfigDict()
  # Features of a pair, a key of salmu_jax.evaluate.metrics.FEATURES, and whether to standardise
  # them.
  config.probe.feature = "product"
  config.probe.standardise = True
  # Scikit-learn's solver, and its maximum number of iterations.
  config.probe.solver = "lbfgs"
  config.probe.max_iter = 1000
  # Inverse strength of the L2 penalty.
  config.probe.c = 1.0
  # Maximum number of facts tested per sensitive split (FactLeak, FactKept), and of other values
  # that compete with the true one.
  config.facts = 400
  config.rivals = 40
  # Rows embedded at once, over all devices, and the precision of the towers. 128 rows of `tiny` fit
  # into a CPU's cache.
  config.batch_size = 128
  config.compute_dtype = "float32"
  return config


def _diagnosis() -> ConfigDict:
  diagnosis = ConfigDict()
  # Smallest share of the leak to remove; the leak is the gap in RetFail's MRR between Compromised
  # and Clean. Below it a model is "ineffective". As published.
  diagnosis.leak_removed = 0.99
  # Smallest share of Compromised's GenKnow to keep. Below it a model is "catastrophic". As
  # published.
  diagnosis.knowledge_kept = 0.99
  # Smallest share to keep of the gaps in InterIdSim and IntraIdSim between Compromised and Clean.
  # Below it a model is "over-generalised". Not published.
  diagnosis.holdout_kept = 0.95
  return diagnosis


def unlearning_run(
  method: str = "finetune",
  *,
  learning_rate: float = 1e-4,
  args: Mapping[str, Any] | None = None,
  tuning: str = "own",
  **changes: Any,
) -> ConfigDict:
  """One unlearning run.

  Args:
    method: a key of salmu_jax.methods.MAKERS, or MODULE:FUNCTION.
    learning_rate: the peak learning rate.
    args: arguments of the method's `make`.
    tuning: where these settings come from, a value of salmu_jax.methods.runs.TUNINGS.
    **changes: other values for the fields below.
  """
  run = ConfigDict()
  # A key of salmu_jax.methods.MAKERS, or MODULE:FUNCTION, and the arguments of its `make`.
  run.method = method
  run.args = ConfigDict(args or {})
  # Passes over forget. Each step reads batch_size rows of forget and as many of retain.
  run.budget = 5.0
  run.batch_size = 32
  # See salmu_jax.train.optimizers.settings.
  run.optimizer = optimizer(learning_rate)
  # Steps between log lines and between checkpoints (a multiple of the former).
  run.log_every = 10
  run.checkpoint_every = 100
  run.update(changes)
  # Where these settings come from, stated in every result: "tuned" (chosen by the search),
  # "reproduction" (the authors') or "own" (anything else).
  run.tuning = tuning
  # Set automatically: a digest of the settings that `tuning` describes. If any of them changes
  # later, results state "own".
  run.tuning_of = runs.tuned_digest(run)
  return run
