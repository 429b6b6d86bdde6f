"""tau: the share of each layer's nuclear norm that is kept, a whole number of millionths."""

from __future__ import annotations

from collections.abc import Iterable

from .errors import InvalidArgument

MILLION = 1_000_000


def checked_tau(tau: float) -> float:
    """Return tau as the nearest whole number of millionths: 0.3 for 0.1 + 0.2.

    Whoever is given a tau passes it on as this returns it. Raises `InvalidArgument` if it is outside
    (0, 1].
    """
    if not 0 < tau <= 1:
        raise InvalidArgument(f"tau {tau} is outside (0, 1]", "0.5 is usual; 1 keeps all.")
    return millionths(tau) / MILLION


def checked_taus(taus: Iterable[float]) -> tuple[float, ...]:
    """Return the different values, ascending, each as `checked_tau` does.

    Raises `InvalidArgument` if there are none or one is outside (0, 1].
    """
    checked = tuple(sorted({checked_tau(tau) for tau in taus}))
    if not checked:
        raise InvalidArgument("no tau is given", "Give some, such as 0.5.")
    return checked


def millionths(tau: float) -> int:
    """The number of millionths in tau, to the nearest, at least 1."""
    return max(1, round(tau * MILLION))


def decimal(tau: float) -> str:
    """A tau in (0, 1] as a decimal fraction without needless digits: "0.5", "0.00001", "1"."""
    number = millionths(tau)
    return "1" if number == MILLION else f"0.{number:06d}".rstrip("0")
