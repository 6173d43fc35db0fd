"""Base images made from the distribution's own package mirror, where no registry is reachable."""
