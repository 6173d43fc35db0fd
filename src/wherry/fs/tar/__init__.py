"""Tar archives: reading untrusted ones, writing deterministic ones."""
