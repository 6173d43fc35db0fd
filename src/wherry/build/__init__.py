"""Dockerfile builds: parser, instructions, cache, solver."""
