"""Studies of what the strict verdict requires beyond the published one."""
