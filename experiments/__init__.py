"""Studies. Every number in the READMEs comes from the results stored here."""
