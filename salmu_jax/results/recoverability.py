"""What attacks got of a model, as its results file says: each attack describes itself there."""

import numpy as np

# How an attack's number follows from its parts.
REDUCTIONS = {"mean": np.mean, "max": np.max}
