"""What stays beside a process while it runs: its parent, its streams' keeper."""
