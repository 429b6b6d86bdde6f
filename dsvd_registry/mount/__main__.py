"""Entry point of the program behind a mount in the background."""

import sys

from .program import main

if __name__ == "__main__":  # not in the processes that make LoRA files
    sys.exit(main())
