"""Memory of a ViT-B/16 pretraining step, compiled for TPU slices."""
