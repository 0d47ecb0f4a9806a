"""What is searched: the same learning rates for every method, and its one main knob."""

# From below, until a method is past its best: until the weaker of leakage removed and retain kept
# has fallen by PAST behind the best.
RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
PAST = 0.05
# From above, where the lowest of RATES was the best, as long as lower is better.
LOWER = (3e-6, 1e-6)
BUDGETS = (1.0, 2.0, 5.0, 10.0)
SEARCH_BUDGET = 5.0
# Method -> (its main knob, the values tried at its best rate besides the default), or None.
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
}
# What a method brings beside its losses; all others have unlearning_run's batches of 64 + 64 and
# AdamW.
OWN = {"anchored": dict(batch_size=16, optimizer="muon")}
# No learning rate, and one pass over the data whatever the others get.
ONE_PASS = ("ssd", "fisher_noise", "fisher_noise_quarter")
# What of configs/methods/NAME.vit_b16() is the authors' own; the rest is ours.
AUTHORS = {
  "vlunlearn": "weights, optimizer, batches",
  "cliperase": "weights, optimizer, batches",
  "cliperase_zero": "optimizer, batches",
  "delete": "optimizer, batches",
  "grad_diff": "weights",
  "npo": "beta",
  "salun": "fraction",
  "scrub": "learning rate, alpha",
  "ssd": "alpha, lambda",
}
