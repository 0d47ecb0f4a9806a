"""Example portraits with the captions that a model retrieves for them, for the results page."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from salmu_jax.data import images
from salmu_jax.data.releases import Release
from salmu_jax.evaluate import measures
from salmu_jax.evaluate.embeddings import Embedded
from salmu_jax.results.splits import SPLITS

TOP = 5  # captions of each person
_PORTRAIT = 96  # pixels


def retrieval_examples(
  z: Embedded,
  tables: Mapping[str, Mapping[str, np.ndarray]],
  gallery: Sequence[str],
  pictures: Mapping[str, Sequence[Mapping[str, Any]]],
  release: Release,
) -> list[dict[str, Any]]:
  """A portrait of some people of each split with `Split.examples`, and the captions nearest to it.

  The rows are the same for every model.

  Args:
    z: the embeddings of the release.
    tables: {split: `releases.columns`}.
    gallery: (G,) the captions that RetFail ranks every picture against.
    pictures: {split: random-access rows}.
    release: the opened release.

  Returns:
    [{"split", "file_name", "name", "caption", "rank" (0 is best), "cosine", "top": [{"text",
    "cosine"}], "portrait": a data: URI of a JPEG}].
  """
  captions = z.of(gallery)
  shown = []
  people = {name: split.examples for name, split in SPLITS.items() if split.examples}
  for split, count in people.items():
    rows = _spread(tables[split]["identity_id"], count)
    texts = tables[split]["text"][rows]
    own, image = z.of(texts), z.image[split][rows]
    ranks = measures.ranks_among(image, own, texts, captions, gallery)
    for row, text, vector, answer, rank in zip(rows, texts, image, own, ranks, strict=True):
      # Equal texts are listed once; the own caption competes as in RetFail.
      cosines = dict(zip(gallery, (captions @ vector).tolist(), strict=True))
      cosines[text] = float(answer @ vector)
      best = sorted(cosines, key=lambda caption: (-cosines[caption], caption))[:TOP]
      file_name = str(tables[split]["file_name"][row])
      shown.append(
        {
          "split": split,
          "file_name": file_name,
          "name": release.identities[tables[split]["identity_id"][row]]["name"],
          "caption": str(text),
          "rank": int(rank),
          "cosine": round(cosines[text], 4),
          "top": [{"text": str(caption), "cosine": round(cosines[caption], 4)} for caption in best],
          "portrait": _portrait(pictures[split][int(row)]["image"], file_name),
        }
      )
  return shown


def _spread(identities, count):
  """The first row of each of `count` people, who are evenly spread over all people."""
  people, first = np.unique(identities, return_index=True)
  return first[np.unique(np.linspace(0, len(people) - 1, count).round().astype(int))]


def _portrait(data, file_name):
  picture = images.decode(data, repr(file_name))
  picture.thumbnail((_PORTRAIT, _PORTRAIT), Image.Resampling.BICUBIC)
  jpeg = io.BytesIO()
  picture.save(jpeg, "JPEG", quality=80)
  return f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}"
