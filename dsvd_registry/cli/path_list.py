"""A list of paths in a text file."""

from __future__ import annotations

import codecs
import os
import sys
from pathlib import Path

from ..errors import InvalidArgument
from ..fs import storage_errors

STDIN = "-"
MAX_BYTES = 1 << 24


def read_path_list(list_file: Path) -> tuple[Path, ...]:
    """The paths in `list_file` (- is the standard input), one per line; empty lines are skipped.

    Relative paths start at the current folder. Raises `InvalidArgument` for a file that is not such a
    list, `StorageError`.
    """
    with storage_errors(list_file):
        if str(list_file) == STDIN:
            data = sys.stdin.buffer.read(MAX_BYTES + 1)
        else:
            with list_file.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES or b"\0" in data:
        raise InvalidArgument(
            f"{list_file} is not a list of paths", "Give a text file with a path on each line."
        )
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    # Spaces may belong to a name and stay; the line ends of Windows are removed.
    return tuple(Path(os.fsdecode(line.rstrip(b"\r"))) for line in lines if line.strip())
