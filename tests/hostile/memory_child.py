"""Opens a checkpoint in a process of its own and prints the bytes that it took at its most."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from dsvd_registry.checkpoint import open_checkpoint
from dsvd_registry.errors import DsvdError

STATUS = Path("/proc/self/status")  # Linux


def kilobytes(field: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    before = kilobytes("VmRSS")
    with contextlib.suppress(DsvdError):
        open_checkpoint(Path(sys.argv[1])).close()
    sys.stdout.write(str((kilobytes("VmHWM") - before) << 10))
