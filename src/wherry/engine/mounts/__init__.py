"""The mounts of containers, and copies of volumes."""
