"""What the engine finds on its host, and what its host lets it do."""
