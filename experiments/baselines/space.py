"""The search space: the same learning rates for every method, and each method's main knob."""

from configs import mini

# Tried in this order until a method is past its best: the weaker of leakage removed and retain kept
# is more than PAST below its best.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
PAST = 0.05
# Tried in this order if the lowest of RATES is best, as long as each is better than the last.
LOWER = (3e-6, 1e-6)
BUDGETS = (1.0, 2.0, 5.0, 10.0)
SEARCH_BUDGET = mini.BUDGET
# Method -> (its main knob, values tried at its best rate in addition to the default), or None.
KNOBS = {
  "finetune": None,
  "negative_gradient": None,
  "shuffled_captions": None,
  "generic_captions": None,
  "direct_similarity": None,
  "vlunlearn": ("retain", (0.1, 10.0)),
  "cliperase": ("forget", (1.0, 10.0)),
  "cliperase_zero": ("retain", (0.1, 10.0)),
  "delete": None,
  "delete_zero": ("retain", (0.1, 10.0)),
  "grad_diff": ("retain", (0.3, 3.0)),
  "anchored": None,
  "bounded_ascent": ("margin", (-0.2, 0.2)),
  "npo": ("beta", (0.01, 1.0)),
  "scrub": ("ascent", (0.25, 1.0)),
  "l2ul": ("anchors", (0.1, 10.0)),
  "gradient_surgery": ("retain", (0.3, 3.0)),
  "munba": None,
  "null_space": ("rank", (2, 16)),
  "salun": ("fraction", (0.1, 0.9)),
  "slug": ("layers", (2, 4)),
  "ssd": ("alpha", (30.0, 5.0, 3.0, 2.0, 1.5, 1.0)),
  "fisher_noise": ("alpha", (1e-11, 1e-9, 1e-7, 1e-5, 1e-4, 1e-3, 1e-2)),
  "fisher_noise_quarter": ("alpha", (1e-18, 1e-15, 1e-13, 1e-11, 1e-9, 1e-7, 1e-5)),
  "task_vector": ("coefficient", (0.5, 2.0)),
  "negmerge": ("coefficient", (2.0, 4.0)),
  "descent_to_delete": ("sigma", (3e-3, 1e-2)),
  "razor": ("layers", (2, 12)),
  "alignment_calibration": ("positive", (10.0, 100.0)),
  "vl_eraser": ("coefficient", (2.0, 4.0)),
  "weight_distortion": ("sigma", (0.01, 0.04)),
  "distance_reward": ("weight", (100.0, 1e4)),
  "rewind_to_delete": ("rewind", (0.1, 0.25)),
  "space_adaptation": ("penalty", (1e-3, 0.1)),
  "subgroup": ("soup", (0.75, 1.0)),
}
# Methods with their own batch size and optimizer; all others use batches of 32 + 32 and AdamW.
OWN = {"anchored": dict(batch_size=16, optimizer="muon")}
# Methods without a learning rate; they make one pass over the data at every budget.
ONE_PASS = ("ssd", "fisher_noise", "fisher_noise_quarter")
# Which settings of configs/methods/NAME.vit_b16() are the authors' own; the others are ours.
AUTHORS = {
  "vlunlearn": "weights, optimizer, batches",
  "cliperase": "weights, optimizer, batches",
  "cliperase_zero": "optimizer, batches",
  "delete": "optimizer, batches",
  "distance_reward": "weight, learning rate, batches",
  "grad_diff": "weights",
  "npo": "beta",
  "salun": "fraction",
  "scrub": "learning rate, alpha",
  "space_adaptation": "two weights, rank, optimizer",
  "ssd": "alpha, lambda",
  "weight_distortion": "sigma, learning rate, batches",
}
