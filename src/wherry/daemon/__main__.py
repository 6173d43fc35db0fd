"""``python -m wherry.daemon``."""

import sys

from wherry.daemon.main import main

sys.exit(main())
