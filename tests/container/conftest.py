from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from spec.building import Built
from spec.valid_vectors import small as small_recipe
from trained_pair import one_thread

from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import DenseRecord, LowRankRecord

Read = Callable[[bytes], None]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="session")
def small() -> Built:
    """One tensor of each kind, in under 1 KB."""
    return small_recipe().build()


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Opens a file of these bytes and reads all that it holds."""
    path = tmp_path / "file.dsvd"

    def read_all(data: bytes) -> None:
        path.write_bytes(data)
        with Container(path) as container:
            container.check_file()
            container.source_headers()
            for index, record in enumerate(container.header.tensors):
                container.raw(index)
                if isinstance(record, LowRankRecord):
                    container.components(index, record.rank)
                if isinstance(record, DenseRecord):
                    container.elements(index)

    return read_all
