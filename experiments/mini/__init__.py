"""The mini benchmark, as the README reports it."""
