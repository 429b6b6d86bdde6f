"""Entry point of the program behind a mount in the background."""

import sys

from .program import main

sys.exit(main())
