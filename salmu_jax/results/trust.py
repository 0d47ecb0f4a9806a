"""How far each number can be trusted to tell a model that knows from one that does not, as data.

TRUST: {key of metrics_table.METRICS or of an attack: 0 to 1}, measured by experiments/meta on mini.
  Numbers that ask for what all of its models know have none.
PATH: of the JSON that holds them; `python -m experiments.tabulate` writes it.
"""

import json
import pathlib

PATH = pathlib.Path(__file__).with_suffix(".json")
TRUST: dict[str, float] = json.loads(PATH.read_text(encoding="utf-8"))
