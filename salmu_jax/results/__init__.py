"""Results files: the metrics table, reading, schema, row checks, diagnosis."""
