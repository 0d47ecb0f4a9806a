"""Numerical differences between our CLIP and OpenCLIP's."""
