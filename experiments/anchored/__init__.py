"""Anchored caption editing: its frontier over budgets, its ablations, and attacks on it."""
