"""Entry point of `python -m dsvd_registry.cli`."""

import sys

from . import main

sys.exit(main())
