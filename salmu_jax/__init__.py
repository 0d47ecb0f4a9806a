"""SALMUBench in JAX: build the data, train CLIP, unlearn associations, judge, compare."""

__version__ = "0.1.0"
