"""What an attacker gets back of what was to be forgotten."""
