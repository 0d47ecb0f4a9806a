"""Configs: `default` is the schema, the others fill it in."""
