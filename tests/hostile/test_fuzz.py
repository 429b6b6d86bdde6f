"""Any bytes end in a valid read or in one of our errors, soon.

Seen to fail: with ValueError not caught in `canonical.decode` (container, event), with entries that are
no objects let through in `safetensors_file._entry`, with ValueError not caught in `read_pickle`, and
with codes, or the length of what is left, not checked in a residual's runs.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsvd_registry.errors import DsvdError

from .reading import READERS
from .strategies import INPUTS

READER = {"safetensors": "checkpoint", "pickle": "checkpoint", "event": "log"}


@pytest.mark.parametrize("name", INPUTS)
@settings(
    max_examples=1000,
    deadline=4000,  # milliseconds, of one input
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_bytes(tmp_path: Path, name: str, data: st.DataObject) -> None:
    sent = data.draw(INPUTS[name]())
    try:
        READERS[READER.get(name, name)](sent, tmp_path)
    except DsvdError as error:
        assert str(error) and str(error).isprintable()
