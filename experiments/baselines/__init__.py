"""Every baseline, tuned on a validation cut and untuned, at several budgets."""
