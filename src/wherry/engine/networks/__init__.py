"""The networks, names and ports of containers."""
