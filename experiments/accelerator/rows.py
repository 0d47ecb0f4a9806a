"""The rows to measure, for both sides."""

from typing import NamedTuple

from experiments.embed_speed import measure as embed_speed

PRESET = "vit_b16"
# Batches are on the device before the clock starts. The exception is "captions": they start on the
# host, and embeddings end there, as in an evaluation.
UNIT = {**embed_speed.UNIT, "train on captions": "pairs/s in training on captions"}


class Row(NamedTuple):
  """One row of the results: which side does what work, at what batch size, and how.

  side: "salmu_jax" or "open_clip".
  what: a key of UNIT.
  batch: rows of a batch.
  attention, remat, loss: fields of the config. OpenCLIP reads only remat, whose "blocks" is its
    gradient checkpointing.
  scan: whether one block is traced for all layers.
  """

  side: str
  what: str
  batch: int
  attention: str = "cudnn"
  remat: str = "none"
  loss: str = "contrastive"
  scan: bool = False


def _ours(what, batch, **how):
  return Row("salmu_jax", what, batch, **how)


def _theirs(what, batch, **how):
  return Row("open_clip", what, batch, attention="flash", **how)


_LIKE_CONFIG = {"remat": "blocks", "scan": True}  # as in configs/vit_b16_scratch.py
ROWS = (
  *[_ours(what, 1024, scan=True) for what in ("image", "text", "captions")],
  *[_ours("train", batch) for batch in (256, 1024)],
  _ours("train", 256, attention="plain"),
  _ours("train on captions", 1024),
  *[_ours("train", batch, **_LIKE_CONFIG) for batch in (256, 1024, 2048)],
  *[_ours("train", batch, attention="plain", **_LIKE_CONFIG) for batch in (256, 1024)],
  _ours("train", 2048, loss="contrastive_ring", **_LIKE_CONFIG),
  _ours("train on captions", 2048, **_LIKE_CONFIG),
  *[_theirs(what, 1024) for what in ("image", "text", "captions")],
  *[_theirs("train", batch) for batch in (256, 1024)],
  _theirs("train", 2048, remat="blocks"),
)
