"""The OCI Distribution API: client, authentication. Knows nothing of the daemon."""
