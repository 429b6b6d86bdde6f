"""Progress messages on stderr, so that stdout has the tables only."""

from __future__ import annotations

import sys
import time

START = time.perf_counter()


def say(text: str) -> None:
    print(f"{time.perf_counter() - START:7.1f} s  {text}", file=sys.stderr, flush=True)
