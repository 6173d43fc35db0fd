"""The command line ``wherry-runtime``: the runtime as other engines call it."""
