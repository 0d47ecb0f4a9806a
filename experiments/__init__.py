"""Studies: every number that the README prints comes from the results kept here."""
