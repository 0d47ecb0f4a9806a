"""Every baseline at several budgets, tuned on a validation split and untuned."""
