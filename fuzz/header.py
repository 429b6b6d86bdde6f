"""A fuzz target: the bytes of a container's header, without digest and compression."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.container.header import header_bytes
from dsvd_registry.container.parse_header import parse_header
from dsvd_registry.container.reader import Container
from dsvd_registry.container.structure import check_structure

from . import VALID


def seeds() -> Iterator[bytes]:
    for path in sorted(VALID.glob("*.dsvd")):
        with Container(path) as container:
            yield header_bytes(container.header)


def read(data: bytes, folder: Path) -> None:
    header = parse_header(data, 0, len(data))
    check_structure(header)
    assert header_bytes(header) == data, "a header has two spellings"
