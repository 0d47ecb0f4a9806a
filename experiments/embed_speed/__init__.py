"""Our ViT-B/16 against OpenCLIP's in seconds."""
