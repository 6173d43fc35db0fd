"""Base images from a distribution's own package mirror, where no registry can be reached."""

from wherry.bootstrap.bootstrapper import Bootstrapper
from wherry.bootstrap.recipes import Recipe

__all__ = ["Bootstrapper", "Recipe"]
