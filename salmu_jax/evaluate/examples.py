"""What a results file says of single rows: whose they are, what was hit, and examples to look
at.
"""

import base64
import io

import numpy as np
from PIL import Image

from salmu_jax.data import images
from salmu_jax.evaluate import metrics

# How many people of each split are shown, and how many captions of each.
SHOWN = {"forget": 4, "holdout_association": 2, "holdout_identity": 2}
TOP = 5
_PORTRAIT = 96  # pixels


def examples(z, tables, gallery, pictures, release):
  """Some portraits with the captions that the model finds for them; the same rows for every model.

  Args:
    z: Embedded. tables: split -> `release.columns`. gallery: texts of RetFail. pictures: split ->
      records.
    release: an opened release.

  Returns:
    [{"split", "file_name", "name", "caption", "rank" (0 is best), "cosine", "top": [{"text",
    "cosine"}], "portrait": a data: URI of a JPEG}], of the splits of SHOWN.
  """
  ids = {text: number for number, text in enumerate(dict.fromkeys(gallery))}
  gallery_id = np.array([ids[text] for text in gallery], np.int32)
  table = z.of(gallery)
  out = []
  for split, count in SHOWN.items():
    rows = _spread(tables[split]["identity_id"], count)
    texts = tables[split]["text"][rows]
    own, image = z.of(texts), z.image[split][rows]
    own_id = np.array([ids.get(text, -1 - at) for at, text in enumerate(texts)], np.int32)
    ranks = metrics.retrieval_ranks(image, own, own_id, table, gallery_id)
    for row, text, vector, answer, rank in zip(rows, texts, image, own, ranks, strict=True):
      # Equal texts once; the own caption competes as in RetFail.
      scored = dict(zip(gallery, (table @ vector).tolist(), strict=True))
      scored[text] = float(answer @ vector)
      best = sorted(scored, key=lambda each: (-scored[each], each))[:TOP]
      file_name = str(tables[split]["file_name"][row])
      out.append(
        {
          "split": split,
          "file_name": file_name,
          "name": release.identities[tables[split]["identity_id"][row]]["name"],
          "caption": str(text),
          "rank": int(rank),
          "cosine": round(scored[text], 4),
          "top": [{"text": str(t), "cosine": round(scored[t], 4)} for t in best],
          "portrait": _portrait(pictures[split][int(row)]["image"], file_name),
        }
      )
  return out


def _spread(identities, count):
  """One row each of some people, evenly spread over all of them."""
  people, first = np.unique(identities, return_index=True)
  return first[np.unique(np.linspace(0, len(people) - 1, count).round().astype(int))]


def _portrait(data, file_name):
  picture = images.decode(data, repr(file_name))
  picture.thumbnail((_PORTRAIT, _PORTRAIT), Image.Resampling.BICUBIC)
  out = io.BytesIO()
  picture.save(out, "JPEG", quality=80)
  return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
