"""Frozen values that every layer shares. Pure: no input, no output."""
