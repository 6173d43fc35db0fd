"""From a configuration to the operations that make it true. Pure: no privileges, no I/O."""
