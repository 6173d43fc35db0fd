"""What the clients of a socket may do. docs/policies.md describes the files.

The decision is made twice, on what will be carried out and never on text that came in: whether the
route that was found may be called, and, inside the handler, by an engine that knows only what the
policy shows (``guard.py``). A part of the engine that no rule was written for is refused.
"""
