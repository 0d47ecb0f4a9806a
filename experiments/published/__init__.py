"""Which reading of the open choices reproduces the published values."""
