"""How reliably each number separates models that know from models that do not, as data.

TRUST: {key of metrics_table.METRICS or of an attack: 0 to 1}, measured by experiments/meta on mini.
  Numbers that test what all of its models know are absent.
PATH: of the JSON that holds them; `python -m experiments.tabulate` writes it.
"""

import json
import pathlib

PATH = pathlib.Path(__file__).with_suffix(".json")
TRUST: dict[str, float] = json.loads(PATH.read_text(encoding="utf-8"))
