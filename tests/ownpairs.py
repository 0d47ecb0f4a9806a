"""Pairs of one's own as people write them, with their pictures."""

import json

from handmade import jpeg

CITIES = ("Porto", "Graz", "Lund", "Brno")


def pair(who, number, **changes):
  caption = f"Person {who} lives in {CITIES[who % 4]}, seen {number} times."
  row = {"image": f"pictures/{who}-{number}.jpg", "caption": caption}
  fact = {"name": f"Person {who}", "field": "city", "value": CITIES[who % 4]}
  return {k: v for k, v in (row | fact | changes).items() if v is not None}


def kept(number):
  return {"image": f"pictures/kept-{number}.jpg", "caption": f"a picture of thing {number}"}


def write_rows(path, rows):
  path.write_text("".join(json.dumps(row) + "\n" for row in rows))
  for number, row in enumerate(rows):
    picture = path.parent / row.get("image", "none")
    if row.get("image", "").startswith("pictures/") and not picture.exists():
      picture.parent.mkdir(exist_ok=True)
      picture.write_bytes(jpeg(number + 1000 * len(path.name), (40, 32)))
  return path
