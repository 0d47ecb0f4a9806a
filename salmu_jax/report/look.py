"""Colours of pictures and page, and how far their axes go."""

# Okabe and Ito's colours, which colour-blind readers can tell apart, without their yellow (too
# pale for a line on white) and grey (the Clean model has it).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, SOFT, GRID = "#222222", "#666666", "#dddddd"
CLEAN, COMPROMISED, PASS = "#8c8c8c", "#000000", "#009E73"
FLOOR = -100  # percent of the holdout gap; what lies below is drawn there, with its number
