"""Finished model folders, as runs leave them."""

import jax

from salmu_jax.data import tokenizers
from salmu_jax.models import clip
from salmu_jax.models.presets import PRESETS
from salmu_jax.runtime import files
from salmu_jax.train import checkpoint

WORDS = tokenizers.compact_tokenizer(40, ["a portrait of Ana Sousa, blood type A+", "a cat"])
TINY = PRESETS["tiny"]._replace(vocab_size=WORDS.vocab_size)
NARROW = PRESETS["vit_b16_narrow"]
INIT = jax.jit(clip.init, static_argnums=(0, 1))
FACTS = {
  "reads": ["forget", "retain"],
  "moves": "all parameters",
  "steps": 30,
  "wall_seconds": 12.3,
  "seconds": 14.5,
  "device": "cpu x 1",
  "versions": {"jax": "0.0"},
}


def model_folder(folder, preset="tiny", scan=False, **settings):
  """A finished model folder as a run leaves it."""
  words = WORDS if preset == "tiny" else tokenizers.clip_tokenizer()
  sizes = PRESETS[preset]._replace(vocab_size=words.vocab_size)
  checkpoint.save_params(folder / "params", INIT(clip.CLIP(sizes, scan=scan), 0))
  tokenizers.save(words, folder / "tokenizer.json")
  settings = {"seed": 0, "model": {"preset": preset, "scan": scan}, **settings}
  files.write_json(folder / "settings.json", settings)
  files.write_json(folder / "done.json", FACTS)
  return folder


def params_of(folder, sizes):
  like = jax.eval_shape(lambda: clip.init(clip.CLIP(sizes), 0))
  device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
  like = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), like)
  return jax.device_get(checkpoint.load_params(folder / "params", like))
