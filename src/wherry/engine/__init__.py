"""Use cases: containers, exec, images, events. No HTTP, no environment variables."""
