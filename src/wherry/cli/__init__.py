"""The ``wherry`` command line. Talks only to ``wherry.client``."""
