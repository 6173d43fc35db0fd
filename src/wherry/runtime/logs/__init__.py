"""What containers print, kept in files: writers for monitors, readers for the engine.

The formats are described in ``docs/formats/logs.md``.
"""
