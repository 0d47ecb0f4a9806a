"""What the strict verdict asks, and how near to it one gets."""
