"""From parameters to a results file: embed every split once, then metrics as pure functions."""
