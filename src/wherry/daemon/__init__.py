"""Composition root: reads argv, environment and configuration once; wires the parts; serves."""
