"""Made-up results with all that a page shows: rows, examples, attacks; and names that try to
break out.
"""

import base64
import io

import numpy as np
from madeup import MADE_UP, result, with_facts, with_rows
from PIL import Image

from salmu_jax.results import lookup
from salmu_jax.results.collecting import Table

ATTACKS = ("Relearning", "Membership", "Readout", "Rephrasing", "Gallery")
HOSTILE = (
  "<img src=x onerror=alert(1)>",
  "</script><script>alert(2)</script>",
  "'\"&amp;{{ 7 * 7 }}\u2028",
  "忘れる_" + "long" * 20,
)
SPLITS = ("forget",) * 4 + ("holdout_association",) * 2 + ("holdout_identity",) * 2
FACES = ("#c68642", "#8d5524", "#e0ac69", "#f1c27d")


def whole(name, numbers=None, model=None, seed=0):
  """One result with rows, examples and attacks; of another seed with somewhat other numbers."""
  numbers = np.array(numbers or MADE_UP[name], float)
  numbers[1] += seed / 50
  one = with_facts(with_rows(result(name, tuple(numbers), model), seed))
  about = one["salmu_jax"]
  about["seed"] = seed
  if about["role"] == "unlearned":
    about["tuning"] = "reproduction" if name == "shuffled_captions" else "tuned"
  low = np.random.default_rng(seed + len(about["model"])).uniform(0.05, 0.2, 5)
  leak = lookup.flatten(one)["RetFail_MRR"]
  about["additional"]["recoverability"] = {
    key: {"value": float(min(1, base + leak)), "label": f"What {key} gets", "asked": 12}
    for key, base in zip(ATTACKS, low, strict=True)
  }
  about["additional"]["examples"] = examples(about["model"], leak)
  return one


def examples(model, leak):
  """Eight portraits; what leaks has its true caption on top."""
  portraits = []
  for at, split in enumerate(SPLITS):
    caption = f"Ada Person {at}, </script><b>phone</b> +44 20 7946 {at:04d}, written in a letter."
    top = [f"Somebody else {model[:8]} {at}-{n} lives in Lisbon" for n in range(5)]
    rank = 0 if leak > 0.1 or split != "forget" else 700 + at
    if rank == 0:
      top = [caption, *top[:4]]
    portraits.append(
      {
        "split": split,
        "file_name": f"{at}.jpg",
        "name": f"Ada Person {at}",
        "caption": caption,
        "rank": rank,
        "cosine": 0.3,
        "top": [{"text": text, "cosine": 0.4 - n / 50} for n, text in enumerate(top)],
        "portrait": _portrait(FACES[at % 4]),
      }
    )
  return portraits


def table(label="mini, seed 0", seed=0):
  """Clean, Compromised and the four made-up methods."""
  results = [whole(name, seed=seed) for name in MADE_UP]
  for one in results[3:]:
    one["salmu_jax"]["budget"] = 20.0
  return Table(label, results)


def hostile(methods=4):
  """A table of methods without rows whose names are HOSTILE, or numbered once those are used up."""
  rng, entries = np.random.default_rng(3), []
  clean, leaky = (np.array(MADE_UP[name], float) for name in ("clean", "compromised"))
  for at in range(methods):
    kept = rng.uniform(size=10)
    numbers = leaky + kept * (clean - leaky)
    numbers[5:8] = leaky[5:8] - rng.uniform(0, 0.3) * (leaky - clean)[5:8]
    name = HOSTILE[at] if at < len(HOSTILE) else f"method_{at:03d}"
    one = result("finetune", tuple(numbers), model=name)
    one["salmu_jax"]["additional"]["examples"] = examples(name, 0.0)
    entries.append(one)
  entries[0]["efficacy"]["1.3_ACS"]["acs_accuracy"] = float("nan")
  results = [whole("clean"), whole("compromised"), *entries]
  for one in results:
    one["salmu_jax"]["release"]["name"] = "another"
  return Table("hostile", results)


def _portrait(colour):
  buffer = io.BytesIO()
  Image.new("RGB", (96, 96), colour).save(buffer, "JPEG", quality=80)
  return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
