"""CPU speed of our CLIP compared with OpenCLIP's."""
