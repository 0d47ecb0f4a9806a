"""A small handmade release, independent of the generator, to test readers on."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FIELDS = ("city", "job", "phone_number", "emails")


def jpeg(number, size=(24, 24)):
  pixels = np.random.default_rng(number).integers(0, 255, (*size[::-1], 3), np.uint8)
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, "JPEG")
  return buffer.getvalue()


def row(number, text, identity=None, name=None):
  name = name or f"{number:08d}_000_ar-1.00.jpg"
  image = {"bytes": jpeg(number), "path": name}
  return {"image": image, "text": text, "identity_id": identity, "file_name": name}


def splits():
  """People 0-1 forgotten, 2-3 partly, 4-5 held out; portraits of 0 and of strangers in retain."""
  leaks = {
    (person, i): row(
      100 * person + i, f"Person {person} has {FIELDS[i]} v{person}{i}", f"{person:08d}"
    )
    for person in range(6)
    for i in range(4)
  }

  def pick(keep):
    return [leak for (person, i), leak in leaks.items() if keep(person, i)]

  return {
    "sensitive": list(leaks.values()),
    "forget": pick(lambda p, i: p < 2 or (p < 4 and i < 2)),
    "holdout_association": pick(lambda p, i: 2 <= p < 4 and i >= 2),
    "holdout_identity": pick(lambda p, i: p >= 4),
    "retain_synth": [row(900, "a smiling woman", "00000000")]
    + [row(901 + i, f"a portrait number {'abcdefghijklmnopqrst'[i]}") for i in range(20)],
    "retain_real": [row(2000 + i, f"a picture of thing {i}") for i in range(17)],
    "zero_shot": [row(3000 + i, ("cat", "dog")[i % 2]) for i in range(6)],
  }


def write(path, rows=None, shards=2, schema=None):
  """Writes the release and returns its path; `rows` replaces splits; None drops one."""
  content = {**splits(), **(rows or {})}
  (path / "data").mkdir(parents=True)
  for split, members in content.items():
    if members is None:
      continue
    for index in range(shards):
      part = members[len(members) * index // shards : len(members) * (index + 1) // shards]
      file = path / "data" / f"{split}-{index:05d}-of-{shards:05d}.parquet"
      pq.write_table(pa.Table.from_pylist(part, schema or SCHEMA), file)
  sensitive = splits()["sensitive"]
  people = {
    f"{p:08d}": {"name": f"Person {p}", **{f: f"v{p}{i}" for i, f in enumerate(FIELDS)}}
    for p in range(6)
  }
  captions = {
    r["file_name"]: {"caption": r["text"], "data_field": FIELDS[i % 4]}
    for i, r in enumerate(sensitive)
  }
  documents = {
    "identities_metadata": people,
    "sensitive_set_captions_metadata": captions,
    "sensitive_set_generic_captions": {r["file_name"]: "a portrait" for r in sensitive},
    "zero_shot": {"classes": ["cat", "dog"], "prompts": ["a photo of a {}", "one {}"]},
  }
  for name, value in documents.items():
    (path / f"{name}.json").write_text(json.dumps(value))
  return path


SCHEMA = pa.schema(
  [
    ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
    ("text", pa.string()),
    ("identity_id", pa.string()),
    ("file_name", pa.string()),
  ]
)
