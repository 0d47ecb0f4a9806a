"""Models of OpenCLIP and Hugging Face, imported and exported."""
