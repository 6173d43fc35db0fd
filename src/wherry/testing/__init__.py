"""Contract suites and fakes for the Protocols, shipped for those who write implementations."""
