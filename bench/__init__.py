"""Wherry and its peers side by side, on the same work, in turn: ``python -m bench``."""
