"""Containers and their processes: made, started, watched, ended, removed."""
