"""The OCI runtime: specification, operations, launcher, monitor. Also ``wherry-runtime``."""
