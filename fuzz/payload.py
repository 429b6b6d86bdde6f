"""A fuzz target: the content of one frame of a container with correct digests.

The first byte selects a container of spec/vectors, the second the frame that the input replaces.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from dsvd_registry.container.frames import BYTES, CACHED_BYTES, Frames, compress
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import Header
from dsvd_registry.container.writer import write_container
from dsvd_registry.hashing import sha256
from dsvd_registry.ranged_file import DiskFile

from . import VALID, container

NAMES = ("small", "rows-parts", "tree-small", "source-lossy", "many-frames")


@functools.cache
def _opened() -> list[tuple[Header, list[bytes]]]:
    """The header and the decompressed frames of each container that has frames."""
    found = []
    for path in sorted(VALID.glob("*.dsvd")):
        with Container(path) as opened, DiskFile(path) as file:
            header = opened.header
            frames = Frames(file, header, CACHED_BYTES)
            if header.frames and path.stem in NAMES:
                found.append((header, [frames.content(i) for i in range(len(header.frames))]))
    return found


def seeds() -> Iterator[bytes]:
    for which, (_, contents) in enumerate(_opened()):
        for number, content in enumerate(contents):
            yield bytes([which, number]) + content


def read(data: bytes, folder: Path) -> None:
    if len(data) < 3:
        return
    header, contents = _opened()[data[0] % len(_opened())]
    contents = list(contents)
    contents[data[1] % len(contents)] = data[2:]
    stored = [compress(content, BYTES) for content in contents]
    filled = zip(header.frames, contents, stored, strict=True)
    changed = replace(
        header,
        frames=tuple(
            replace(frame, raw=len(content), stored=len(packed), sha256=sha256(packed))
            for frame, content, packed in filled
        ),
    )
    file = io.BytesIO()
    write_container(changed, iter(stored), file)
    container.read(file.getvalue(), folder)
