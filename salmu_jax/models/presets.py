"""Model sizes by name, and the model that `config.model` describes."""

import re

import jax.numpy as jnp
from ml_collections import ConfigDict

from salmu_jax import errors, fields
from salmu_jax.errors import InputError
from salmu_jax.models import clip
from salmu_jax.models.attention import ATTENTION
from salmu_jax.models.clip import CLIP, Sizes, Tower
from salmu_jax.ranges import OneOf, Text

# `mini` (of configs/mini.py) and `tiny` (of configs/mini_first.py and configs/smoke.py) read
# pictures of 64 px. Their vocabulary is compacted to the ids that occur (data/tokenizers.py), so
# vocab_size is set when the tokenizer is made.
# `vit_b16_narrow` has the inputs of ViT-B/16 at a width and depth that a laptop runs, to try a
# config before it runs on an accelerator.
# `..._quickgelu` are the sizes of OpenAI's own weights, which have another activation.
PRESETS: dict[str, Sizes] = {
  "tiny": Sizes(128, 64, 16, Tower(128, 3, 4), Tower(64, 2, 4), context_length=40, vocab_size=0),
  "mini": Sizes(128, 64, 16, Tower(96, 3, 4), Tower(96, 2, 4), context_length=48, vocab_size=0),
  "vit_b16_narrow": Sizes(64, 224, 16, Tower(64, 2, 2), Tower(64, 2, 2)),
  "vit_b32": Sizes(512, 224, 32, Tower(768, 12, 12), Tower(512, 12, 8)),
  "vit_b16": Sizes(512, 224, 16, Tower(768, 12, 12), Tower(512, 12, 8)),
  "vit_l14": Sizes(768, 224, 14, Tower(1024, 24, 16), Tower(768, 12, 12)),
}
PRESETS |= {
  f"{name}_quickgelu": PRESETS[name]._replace(quick_gelu=True)
  for name in ("vit_b32", "vit_b16", "vit_l14")
}
COMPUTE_DTYPES = ("float32", "bfloat16")
# Ranges of the fields of `config.model`.
RANGES = {
  "preset": Text(),  # a key of PRESETS, or a name from `name_of`
  "compute_dtype": OneOf(COMPUTE_DTYPES),
  "remat": OneOf(clip.REMAT),
  "attention": OneOf(ATTENTION),
}
_MOST_LAYERS = 1000  # in a tower; no model comes near, and each takes a second to set up
# Sizes as a name, for models that are no preset: width x layers x heads of either tower.
_SPELLED = re.compile(
  r"vit-(?P<image_size>\d+)-(?P<patch_size>\d+)"
  r"-(?P<vision>\d+x\d+x\d+)-(?P<text>\d+x\d+x\d+)"
  r"-(?P<embed_dim>\d+)-(?P<context_length>\d+)-(?P<vocab_size>\d+)(?P<quick_gelu>-quickgelu)?"
)


def sizes(name: str, where: str = "config.model.preset") -> Sizes:
  """The sizes that a name stands for: a preset, or a name from `name_of`.

  Args:
    name: of the sizes. where: the field that an error names.

  Raises:
    InputError: no such preset, or sizes that no model has.
  """
  spelled = _SPELLED.fullmatch(name)
  if name in PRESETS or not spelled:
    fields.check_name(where, name, PRESETS)
    return PRESETS[name]
  tower = lambda text: Tower(*map(int, text.split("x")))
  towers = {key: tower(spelled[key]) for key in ("vision", "text")}
  others = ("image_size", "patch_size", "embed_dim", "context_length", "vocab_size")
  numbers = {key: int(spelled[key]) for key in others}
  spelled_out = Sizes(**numbers, **towers, quick_gelu=spelled["quick_gelu"] is not None)
  fault = _fault(spelled_out)
  if fault:
    raise InputError(f"{where} = {errors.shown(name)} spells sizes that no model has: {fault}.")
  return spelled_out


def _fault(model: Sizes) -> str:
  """Why no model has these sizes; "" if one can."""
  for name, tower in (("image", model.vision), ("text", model.text)):
    if min(tower) < 1 or tower.width % tower.heads or tower.layers > _MOST_LAYERS:
      shape = f"{tower.layers} layers, {tower.width} wide, with {tower.heads} heads"
      return f"a tower for {name}s of {shape}"
  if not 1 <= model.patch_size <= model.image_size:
    return f"patches of {model.patch_size} pixels in pictures of {model.image_size}"
  if model.embed_dim < 1:
    return f"embeddings of {model.embed_dim} dimensions"
  if model.context_length < 3:
    return f"a context of {model.context_length} tokens, where start, end and a word take three"
  return ""


def name_of(model: Sizes) -> str:
  """The preset of these sizes, or else a name that spells them."""
  for name, preset in PRESETS.items():
    if preset == model:
      return name
  vision, text = ("x".join(map(str, tower)) for tower in (model.vision, model.text))
  rest = f"{model.embed_dim}-{model.context_length}-{model.vocab_size}"
  spelled = f"vit-{model.image_size}-{model.patch_size}-{vision}-{text}-{rest}"
  return spelled + ("-quickgelu" if model.quick_gelu else "")


def check(settings: ConfigDict, platform: str) -> None:
  """Raises InputError for fields of `config.model` that do not go together.

  Args:
    settings: `config.model`, whose fields are in their ranges.
    platform: where the model will run, as JAX names it: "cpu", "gpu" or "tpu".
  """
  whole = Sizes._field_defaults["vocab_size"]
  # An empty preset is that of the weights in config.init.compromised.
  if settings.preset and sizes(settings.preset).vocab_size not in (0, whole):
    raise InputError(
      f"config.model.preset = {settings.preset!r} has a vocabulary other than CLIP's {whole} "
      "tokens. Spell it with this number, or with 0 for a vocabulary of the data."
    )
  if settings.attention != "cudnn":
    return
  if platform != "gpu":
    raise InputError(
      f'config.model.attention is "cudnn", which needs an NVIDIA GPU, but this run is on '
      f'"{platform}". Set it to "plain".'
    )
  if settings.compute_dtype != "bfloat16":
    raise InputError(
      'config.model.attention is "cudnn", which needs bfloat16, but config.model.compute_dtype is '
      f'"{settings.compute_dtype}". Set compute_dtype to "bfloat16", or attention to "plain".'
    )


def make_model(settings: ConfigDict, vocab_size: int) -> CLIP:
  """The model of `config.model`, with a vocabulary of `vocab_size` tokens."""
  return CLIP(
    sizes(settings.preset)._replace(vocab_size=vocab_size),
    dtype=jnp.dtype(settings.compute_dtype),
    remat=settings.remat,
    scan=settings.scan,
    bias=settings.logit_bias,
    attention=settings.attention,
  )
