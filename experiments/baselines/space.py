"""What is searched: the same learning rates for every method, and its one main knob."""

RATES = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3)  # from below, until a method is past its best
PAST = (
  0.05  # by how much the criterion has to fall behind the best one before the search stops there
)
BUDGETS = (1.0, 2.0, 5.0, 10.0)
SEARCH_BUDGET = 5.0
# Method -> (its main knob, the values tried at its best rate besides the default), or None.
KNOBS = {
  "finetune": None,
  "negative_gradient": ("max_norm", (0.1, 10.0)),
  "shuffled_captions": None,
  "generic_captions": None,
  "direct_similarity": None,
  "vlunlearn": ("retain", (0.1, 10.0)),
  "cliperase": ("forget", (1.0, 10.0)),
  "cliperase_zero": ("retain", (0.1, 10.0)),
  "delete": None,
  "delete_zero": ("retain", (0.1, 10.0)),
  "grad_diff": ("retain", (0.3, 3.0)),
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
  "fisher_noise": ("alpha", (1e-11, 1e-10, 1e-9, 1e-7, 1e-6, 1e-5)),
  "task_vector": ("coefficient", (0.5, 2.0)),
  "negmerge": ("coefficient", (2.0, 4.0)),
  "descent_to_delete": ("sigma", (3e-3, 1e-2)),
}
# No learning rate, and one pass over the data whatever the others get.
ONE_PASS = ("ssd", "fisher_noise")
# Of configs/methods/NAME.vit_b16(): whose learning rate, batch and decay they are the authors' own.
AUTHORS = ("vlunlearn", "cliperase", "cliperase_zero", "delete", "delete_zero", "scrub", "ssd")
