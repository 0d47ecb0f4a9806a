"""Studies of what the strict verdict asks beyond the published one."""
