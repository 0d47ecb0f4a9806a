"""The benchmark as a run: preflight, stages, provenance."""
