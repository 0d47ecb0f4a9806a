"""Colours and axis limits of plots and page."""

# The colour-blind safe palette of Okabe and Ito, without yellow (too pale for a line on white) and
# grey (used for Clean).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, SOFT, GRID = "#222222", "#666666", "#dddddd"
CLEAN, COMPROMISED, PASS = "#8c8c8c", "#000000", "#009E73"
FLOOR = -100  # percent of the holdout gap; lower points are drawn here, with their number
