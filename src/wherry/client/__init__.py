"""Typed client of the Engine API, and Wherry's public Python library."""
