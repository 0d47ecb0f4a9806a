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
  # Seed of every draw: data, initial weights, order of rows.
  config.seed = 0
  # The release to read: a directory, or hub:OWNER/NAME@REVISION. Empty: one made by `generate`.
  config.release = ""
  # A second directory or hub address with the splits to pretrain on (`sensitive`, and `retain` or
  # `retain_real`), for a release without them, such as the published one. Not needed with `init`.
  config.training_release = ""
  # Millions of image-text pairs to pretrain and retain on, as the split retain_real: a directory
  # written by python -m salmu_jax.data. Empty: the rows of the release.
  config.retain_pairs = ""
  # Pairs of your own to forget, and to keep, instead of a release: JSON-lines files, see
  # salmu_jax/data/own.py; those to keep may be a folder. The model is config.init.compromised.
  config.forget = ""
  config.retain = ""
  # ImageNet-1k validation, for GenKnow: imagefolder:DIR, webdataset:DIR, tfds: or tfds:DATA_DIR.
  # Empty: the zero-shot split of the release; GenKnow is not measured on a release without one.
  config.imagenet = ""
  # Also write TensorBoard event files (metrics.jsonl is always written).
  config.tensorboard = True
  # Also send the training log to this project on Weights & Biases; needs pip install wandb.
  config.wandb_project = ""
  _add_machine(config)
  # A release made in the workdir.
  config.generate = _generate()
  # The CLIP that is trained.
  config.model = _model()
  # Weights to use instead of pretraining.
  config.init = _init()
  # How Clean and Compromised are trained.
  config.pretrain = _pretrain()
  # Unlearning runs by name; each has the fields of unlearning_run.
  config.unlearn = ConfigDict()
  # Which run of config.unlearn to do, or a method composed on the command line.
  config.method = _method()
  # A model from elsewhere to judge too.
  config.judge = _judge()
  # How every model is judged.
  config.evaluate = _evaluate()
  # How every model is attacked; the settings of an attack are in salmu_jax/attacks/NAME.py.
  config.attacks = attacks.settings()
  # Thresholds of the verdicts, all of them shares.
  config.diagnosis = _diagnosis()
  return config


def _add_machine(config: ConfigDict) -> None:
  """Adds how the machine is used; results depend on it by rounding alone."""
  # Folder on the disk for what can be made again: records, decoded pictures, embeddings, copies of
  # what lies in a bucket. Empty: the workdir; for one in a bucket, salmu_jax/scratch in the user's
  # cache folder.
  config.scratch = ""
  # Threads that decode pictures; results do not depend on it. One suits two cores.
  config.reader_threads = 1
  # GiB of scratch, at most, for pictures that are decoded once and kept at the model's size:
  # those that are judged, then those that unlearning reads, then those of pretraining if they have
  # that size. Results do not depend on it. 0 keeps none.
  config.stored_pictures = 16.0
  # Folder that keeps compiled programs for later runs; results do not depend on it. "default" is
  # that of JAX_COMPILATION_CACHE_DIR; without it, salmu_jax/compilations in the user's cache folder
  # (XDG_CACHE_HOME or ~/.cache), but none for a run of several processes: these need a folder that
  # all of them see, and on CPUs cannot read programs back at all. "off" is none. Beyond 2 GiB, what
  # was used longest ago is removed. The programs are run as they are: let nobody else write there.
  config.compilation_cache = "default"
  # Layout of the parameters on the devices: ordered rules (regex, axes). A parameter goes by the
  # first rule whose regex finds its path, and splits its last dimensions over these axes. The
  # default keeps whole copies; salmu_jax.models.leaves.FSDP splits them over the devices.
  config.sharding = ((".*", ()),)
  # Parts that a training batch is embedded in, one after another, to save memory. The loss is that
  # of the whole batch, so results differ by rounding alone.
  config.accumulate = 1


def _generate() -> ConfigDict:
  config = ConfigDict()
  # Fictitious people with private attributes, and pictures of each (at least one for each private
  # field).
  config.people = 160
  config.images_per_person = 20
  # Portraits with generic captions, and how many of these show people of the forget split.
  config.retain_synth = 1100
  config.retain_joint = 80
  # Captioned scenes in the place of retain_real.
  config.scenes = 8000
  # Classes of objects in scenes, and zero-shot test pictures of each class.
  config.classes = 60
  config.zero_shot_images = 40
  # Shorter side of a picture, in pixels.
  config.image_size = 64
  # What is held out of the partly forgotten people: "fact" (whole facts) or "pair" (single rows).
  config.holdout_unit = "fact"
  # People that share a name, and with it a country; 1 as released.
  config.namesakes = 1
  # How captions of private facts are worded: "templates" (fifteen of each field) or "composed" (of
  # parts: some ten thousand sentences of each field).
  config.wordings = "templates"
  # Share of these captions that give the value without the name; 0 as released. Needs "composed".
  config.nameless = 0.0
  # Strength of pose, light, blur and disguise in portraits; 0 is frontal and clean.
  config.portrait_nuisance = 0.5
  # Strength of rotation, shift and change of size in scenes; 0 is upright, central and large.
  config.scene_nuisance = 0.2
  # Rows of a parquet shard.
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
  # What each block recomputes in the backward pass, to save memory for time: "none" keeps all
  # activations, "products" keeps the products of matrices, "blocks" keeps the inputs of blocks.
  config.remat = "none"
  # Trace one block for all layers, to save compile time.
  config.scan = False
  # How attention is computed: "plain"; or "cudnn", which is faster and keeps no scores, on NVIDIA
  # GPUs and in bfloat16 alone.
  config.attention = "plain"
  # A learnt bias of logits, for the sigmoid losses.
  config.logit_bias = False
  return config


def _init() -> ConfigDict:
  config = ConfigDict()
  # Each a finished model folder (.../models/clean), an OpenCLIP or Hugging Face CLIP file or
  # folder, or hub:OWNER/NAME@REVISION. Empty: pretrain the model.
  config.clean = ""
  config.compromised = ""
  return config


def _pretrain() -> ConfigDict:
  config = ConfigDict()
  # Passes over the rows that a model sees: retain, and for Compromised also sensitive.
  config.epochs = 11.0
  # Rows of a step, over all devices.
  config.batch_size = 128
  # A key of salmu_jax.train.OBJECTIVES: "contrastive" (CLIP's) or "sigmoid" (SigLIP's). Each also
  # with "_ring", whose memory does not grow with the devices, for large batches on many devices.
  config.loss = "contrastive"
  # Least share of a picture that a random crop keeps, and the probability of mirroring.
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
  # Do only the run of config.unlearn with this name. Empty: all of them. "none": none of them.
  config.name = ""
  # The losses of a composed method: keys of FORGET_LOSSES and RETAIN_LOSSES in
  # salmu_jax/methods/parts.py. Empty: nothing is composed. Else the composed method runs alone,
  # under the name above, or that of its parts if there is none.
  config.loss = ""
  config.retain_loss = "contrastive"
  # Transformations: keys of CHAIN in that file; with arguments as ("keep_salient",
  # {"fraction": 0.3}).
  config.chain = ()
  # What makes it robust to relearning: empty for nothing, or a key of WAYS in
  # salmu_jax/methods/robust.py, as ("sam",) or ("sam", {"rho": 0.1}).
  config.robust = ()
  # How the composed method is run.
  config.run = unlearning_run("compose")
  return config


def _judge() -> ConfigDict:
  config = ConfigDict()
  # The name of its row in the leaderboard, and its weights, as in `init`. Empty: no such model.
  config.name = ""
  config.weights = ""
  return config


def _evaluate() -> ConfigDict:
  config = ConfigDict()
  # Seed of numpy's legacy generator, made afresh for every model. It draws the gallery's forget
  # texts, its retain texts, then the permutation and the halves of the association probe. 42 as
  # released.
  config.seed = 42
  # Captions of RetFail's gallery that are drawn from forget, and as many from retain_disjoint.
  config.gallery = 1000
  # How IdZSC names a person; {} stands for the name. Not published.
  config.name_prompt = "a photo of {}"
  # Whose names IdZSC chooses among: "forget_identity" (the people in question), "forget" or "all".
  # Not published.
  config.name_candidates = "forget_identity"
  # The association probe ACS, of which only scikit-learn's logistic regression is published.
  config.probe = ConfigDict()
  # Features of a pair, a key of salmu_jax.evaluate.metrics.FEATURES, and whether to standardise.
  config.probe.feature = "product"
  config.probe.standardise = True
  # Scikit-learn's solver, and its greatest number of iterations.
  config.probe.solver = "lbfgs"
  config.probe.max_iter = 1000
  # Inverse strength of the L2 penalty.
  config.probe.c = 1.0
  # Facts of each sensitive split that are asked about (FactLeak, FactKept), and other values that
  # compete with the true one; both at most.
  config.facts = 400
  config.rivals = 40
  # Rows embedded at once, over all devices, and the precision of the towers. On a CPU, 128 rows of
  # `tiny` stay in its cache.
  config.batch_size = 128
  config.compute_dtype = "float32"
  return config


def _diagnosis() -> ConfigDict:
  diagnosis = ConfigDict()
  # The least share of the leak to remove: of the gap in RetFail's MRR between Compromised and
  # Clean. Below it a model is "ineffective". As published.
  diagnosis.leak_removed = 0.99
  # The least share of Compromised's GenKnow to keep. Below it a model is "catastrophic". As
  # published.
  diagnosis.knowledge_kept = 0.99
  # The least share to keep of the gaps in InterIdSim and IntraIdSim between Compromised and Clean.
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
    learning_rate: the peak.
    args: arguments of the method's `make`.
    tuning: where these settings come from, a value of salmu_jax.methods.runs.TUNINGS.
    **changes: other values for the fields below.
  """
  run = ConfigDict()
  # A key of salmu_jax.methods.MAKERS or MODULE:FUNCTION, and arguments of its `make`.
  run.method = method
  run.args = ConfigDict(args or {})
  # Passes over forget. One step reads batch_size rows of forget and as many of retain.
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
  # Set automatically: the digest of the settings that `tuning` describes. If one of them is changed
  # later, results say "own".
  run.tuning_of = runs.tuned_digest(run)
  return run
