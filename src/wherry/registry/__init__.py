"""Images over the network: a client of the OCI Distribution API. Knows nothing of the daemon."""
