"""``python -m wherry.cli`` is ``wherry``."""

from wherry.cli.main import main

main()
