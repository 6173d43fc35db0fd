"""How a process comes to life: the launcher, its starters, and what they go through."""
