"""The engine's records as the API writes them: pure functions from record to JSON values."""
