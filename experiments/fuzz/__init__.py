"""Randomly damaged inputs, and runs killed at random moments."""
