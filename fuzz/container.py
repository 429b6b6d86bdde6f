"""A fuzz target: a whole container file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import DenseRecord, LowRankRecord

from . import VALID

MOST = 1 << 22  # numbers of a tensor: even a small file may describe a huge one


def seeds() -> Iterator[bytes]:
    return (path.read_bytes() for path in sorted(VALID.glob("*.dsvd")))


def read(data: bytes, folder: Path) -> None:
    path = folder / "hostile.dsvd"
    path.write_bytes(data)
    with Container(path) as container:
        container.check_file()
        container.source_headers()
        for number in range(len(container.header.tree or ())):
            for _ in container.stored_file(number):
                pass
        for number, record in enumerate(container.header.tensors):
            for run in range(len(container.raw_sizes(number))):
                container.raw_run(number, run)
            if isinstance(record, LowRankRecord):
                if record.rank * sum(record.matrix_shape) <= MOST:
                    container.components(number, record.rank)
            elif isinstance(record, DenseRecord) and math.prod(record.common_shape) <= MOST:
                container.elements(number)
