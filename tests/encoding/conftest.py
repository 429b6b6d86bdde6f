from __future__ import annotations

from collections.abc import Iterator

import pytest
from trained_pair import one_thread


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The matrices are small: more threads cost far more than they give."""
    with one_thread():
        yield
