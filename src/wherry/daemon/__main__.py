"""``python -m wherry.daemon``."""

import gc
import sys

# What is loaded at the start stays: looking for garbage in it would only cost time. On again when
# the engine serves.
gc.disable()

from wherry.daemon.main import main  # noqa: E402

sys.exit(main())
