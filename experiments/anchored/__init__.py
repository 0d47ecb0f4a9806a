"""Anchored caption editing: frontier over budgets, ablations and attacks."""
