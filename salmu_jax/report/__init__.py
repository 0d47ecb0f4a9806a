"""From results files to a leaderboard and plots; nothing else is read."""
