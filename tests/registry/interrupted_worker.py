"""Work of a worker that tidies up, when it is interrupted, for as long as others are not."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE = 8.0  # seconds, less than an interrupted worker is waited for


def tidy_up_together(folder: Path, name: str, count: int) -> None:
    """Wait for an interrupt, and then until `count` workers have been interrupted."""
    (folder / f"{name}.begun").touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        (folder / f"{name}.interrupted").touch()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            if len(list(folder.glob("*.interrupted"))) == count:
                (folder / f"{name}.together").touch()
                break
            time.sleep(0.02)
        raise
