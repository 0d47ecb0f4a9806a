"""What SALMUBench published (arXiv 2603.26316): artifacts, counts and values, as data.

SOURCE: where the values come from.
REVISIONS: {repository: pinned commit}.
DATASET, TRAINING_DATASET, CLEAN, COMPROMISED: repositories.
COUNTS: the published sets, as dicts of `set`, `rows`, `identities` (None where not published),
  `mark` ("known" or "inferred") and `approximate`.
MODELS: {"clean", "compromised"} -> {key of metrics_table.METRICS: value}.
METHODS: dicts of `name`, `budget`, the paper's `verdict` and `scores`, which holds the metrics that
  are published.
"""

import json
import pathlib

_DATA = json.loads(pathlib.Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_REPOS = {artifact["role"]: artifact["repo"] for artifact in _DATA["artifacts"]}

SOURCE = _DATA["source"]
REVISIONS = {artifact["repo"]: artifact["revision"] for artifact in _DATA["artifacts"]}
DATASET, TRAINING_DATASET = _REPOS["dataset"], _REPOS["training_dataset"]
CLEAN, COMPROMISED = _REPOS["clean"], _REPOS["compromised"]
COUNTS, MODELS, METHODS = _DATA["counts"], _DATA["models"], _DATA["methods"]
