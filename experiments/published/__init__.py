"""Which reading of what is not published reproduces the published values."""
