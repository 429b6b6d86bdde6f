"""Checked taus: whole millionths in (0, 1]."""

from __future__ import annotations

import math

import pytest

from dsvd_registry.errors import InvalidArgument
from dsvd_registry.tau import checked_tau, checked_taus, decimal


def test_the_nearest_millionth() -> None:
    assert checked_tau(0.1 + 0.2) == 0.3
    assert checked_tau(0.1234564) == 0.123456
    assert checked_tau(0.1234566) == 0.123457
    assert checked_tau(1.0) == 1.0


def test_a_tau_below_a_millionth_is_one() -> None:
    assert checked_tau(1e-300) == 1e-6


@pytest.mark.parametrize("tau", [0.0, -0.0, -0.5, -math.inf, math.nan, 1.0 + 1e-9, 7.0, math.inf])
def test_no_tau(tau: float) -> None:
    with pytest.raises(InvalidArgument, match="outside"):
        checked_tau(tau)
    with pytest.raises(InvalidArgument, match="outside"):
        checked_taus([0.5, tau])


def test_taus_once_and_ascending() -> None:
    assert checked_taus([0.9, 0.3, 0.1 + 0.2]) == (0.3, 0.9)
    with pytest.raises(InvalidArgument, match="no tau"):
        checked_taus([])


def test_decimal() -> None:
    assert [decimal(tau) for tau in (0.5, 0.00001, 1.0, 0.123456)] == [
        *("0.5", "0.00001", "1", "0.123456")
    ]
