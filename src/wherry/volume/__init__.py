"""Named volumes on the host's file system."""
