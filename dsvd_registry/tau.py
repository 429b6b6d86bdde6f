"""tau: the share of each layer's nuclear norm that is kept, a whole number of millionths."""

from __future__ import annotations

from .errors import InvalidArgument

MILLION = 1_000_000


def millionths(tau: float) -> int:
    """The number of millionths in tau. Raises `InvalidArgument` for more than six decimals."""
    number = round(tau * MILLION)
    if number / MILLION != tau:
        raise InvalidArgument(f"tau {tau!r} has more than six decimals", "Round it to six.")
    return number


def decimal(tau: float) -> str:
    """A tau in (0, 1] as a decimal fraction without needless digits: "0.5", "0.00001", "1"."""
    number = millionths(tau)
    return "1" if number == MILLION else f"0.{number:06d}".rstrip("0")
