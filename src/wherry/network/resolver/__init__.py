"""The embedded resolver: a small process that answers at 127.0.0.11 in containers' namespaces."""
