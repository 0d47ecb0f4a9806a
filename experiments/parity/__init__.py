"""Our CLIP against OpenCLIP's in numbers."""
