"""What containers' logs are configured to be."""
