"""Random damage to all that people hand to the program, and kills at random moments."""
