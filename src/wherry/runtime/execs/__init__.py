"""More processes in a container that runs."""
