"""Digits that share bytes: there and back, and bytes that are none."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.errors import ContainerError
from dsvd_registry.residual.digits import (
    BASES,
    digit_bytes,
    pack_digits,
    per_byte,
    unpack_digits,
)

each_base = pytest.mark.parametrize("base", BASES)


@each_base
@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data())
def test_back(base: int, data: st.DataObject) -> None:
    digits = np.array(data.draw(st.lists(st.integers(0, base - 1), max_size=50)), np.uint8)
    packed = pack_digits(digits, base)
    assert len(packed) == digit_bytes(len(digits), base)
    found = unpack_digits(memoryview(packed.tobytes()), len(digits), base)
    assert found.tolist() == digits.tolist()


@each_base
@pytest.mark.parametrize("more", range(9))
def test_every_digit(base: int, more: int) -> None:
    digits = np.resize(np.arange(base), 2 * base + more).astype(np.uint8)
    packed = pack_digits(digits, base)
    assert (
        unpack_digits(memoryview(packed.tobytes()), len(digits), base).tolist() == digits.tolist()
    )


@each_base
@settings(max_examples=60, deadline=None, derandomize=True)
@given(content=st.binary(min_size=1, max_size=20), missing=st.integers(0, 7))
def test_any_bytes(base: int, content: bytes, missing: int) -> None:
    """Digits that give the same bytes again, or an error."""
    count = max(0, len(content) * per_byte(base) - missing % per_byte(base))
    try:
        digits = unpack_digits(memoryview(content), count, base)
    except ContainerError:
        return
    assert len(digits) == count and (digits.astype(int) < base).all()
    assert pack_digits(digits, base).tobytes() == content


@each_base
def test_refused(base: int) -> None:
    """A byte that is over what the digits of a byte can be, and a digit behind the end."""
    room = per_byte(base)
    for byte in range(256):
        data = memoryview(bytes((byte,)))
        if byte < base**room:
            assert len(unpack_digits(data, room, base)) == room
        else:
            with pytest.raises(ContainerError, match="no digits"):
                unpack_digits(data, room, base)
        if room > 1 and base ** (room - 1) <= byte < base**room:
            with pytest.raises(ContainerError, match="behind its end"):
                unpack_digits(data, room - 1, base)
