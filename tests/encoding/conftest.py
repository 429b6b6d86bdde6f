"""Fixtures for the tests of encoding, some of them those of tests/registry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from registry.conftest import pair, trained
from trained_pair import one_thread

__all__ = ["pair", "trained"]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The matrices are small: more threads cost far more than they give."""
    with one_thread():
        yield
