"""SALMUBench in JAX: build the data, train CLIP, unlearn associations, evaluate, compare."""

__version__ = "0.1.0"
