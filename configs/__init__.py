"""Configs: each fills in the schema of `salmu_jax.defaults`."""
