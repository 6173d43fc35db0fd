"""Layers on disk and the writable trees on top of them."""
