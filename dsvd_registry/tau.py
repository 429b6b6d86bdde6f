"""tau: the share of each layer's nuclear norm that is kept, a whole number of millionths."""

from __future__ import annotations

MILLION = 1_000_000


def millionths(tau: float) -> int:
    """The number of millionths in tau, to the nearest, at least 1."""
    return max(1, round(tau * MILLION))


def whole_millionths(tau: float) -> float:
    """The nearest tau that is a whole number of millionths: 0.3 for 0.1 + 0.2."""
    return millionths(tau) / MILLION


def decimal(tau: float) -> str:
    """A tau in (0, 1] as a decimal fraction without needless digits: "0.5", "0.00001", "1"."""
    number = millionths(tau)
    return "1" if number == MILLION else f"0.{number:06d}".rstrip("0")
