"""Models of other libraries in and out, and weights from elsewhere."""
