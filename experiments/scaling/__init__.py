"""What a pretraining step of ViT-B/16 takes on TPU slices, by compiling it for them."""
