"""``python -m wherry.runtime`` is ``wherry-runtime``."""

import sys

from wherry.runtime.main import main

sys.exit(main())
