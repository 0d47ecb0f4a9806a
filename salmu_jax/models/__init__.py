"""CLIP in Flax Linen."""
