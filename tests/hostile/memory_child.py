"""Reads a file in a process of its own: prints the bytes that it took at its most, and the error."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

from dsvd_registry.errors import DsvdError

STATUS = Path("/proc/self/status")  # Linux


def kilobytes(field: str) -> int:
    lines = STATUS.read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


def main(target: str, path: str) -> None:
    """`target`: one of fuzz/."""
    read = importlib.import_module(f"fuzz.{target}").read
    data, error = Path(path).read_bytes(), ""
    before = kilobytes("VmRSS")
    with tempfile.TemporaryDirectory() as folder:
        try:
            read(data, Path(folder))
        except DsvdError as raised:
            error = str(raised)
    sys.stdout.write(f"{(kilobytes('VmHWM') - before) << 10} {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
