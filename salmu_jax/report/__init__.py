"""Builds leaderboards, plots and the page from results files alone."""
