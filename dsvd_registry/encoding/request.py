"""What a version is to be stored with: one value for each way to ask for fidelity."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..errors import InvalidArgument
from ..store import event_json

DEFAULT_TAU = 0.5
DEFAULT_TAUS = (0.06, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)  # a row to choose from
DEFAULT_GRID_NOISE = 0.015


@dataclass(frozen=True)
class TauRequest:
    """Per layer the smallest rank whose singular values sum to `tau` of all, tau in (0, 1].

    `grid_noise`, in (0, 1]: how much the integer grid may add to the error that truncation leaves.
    `keep_noise`: tau's rank also where the rounding of a half-precision side reaches into it.
    `by_default`: nobody asked for this tau, and a file of another kind may have another default.
    """

    tau: float
    grid_noise: float
    keep_noise: bool
    by_default: bool = False

    def settings(self) -> str:
        """Canonical JSON by which the same request is recognised."""
        return event_json.dump(
            {"grid_noise": self.grid_noise, "keep_noise": self.keep_noise, "tau": self.tau}
        ).decode()


@dataclass(frozen=True)
class ErrorRequest:
    """The least bytes at a relative Frobenius error of the whole delta of at most `max_error`."""

    max_error: float

    def settings(self) -> str:
        """Canonical JSON by which the same request is recognised."""
        return event_json.dump({"max_error": self.max_error}).decode()


@dataclass(frozen=True)
class BudgetRequest:
    """The least error that a container of at most `budget` bytes can have."""

    budget: int

    def settings(self) -> str:
        """Canonical JSON by which the same request is recognised."""
        return event_json.dump({"budget": self.budget}).decode()


@dataclass(frozen=True)
class LosslessRequest:
    """The least bytes of container and residual together: what the container alone gives follows."""

    def settings(self) -> str:
        """Canonical JSON by which the same request is recognised."""
        return event_json.dump({"lossless": True}).decode()


Request = TauRequest | ErrorRequest | BudgetRequest | LosslessRequest


def request_of(
    *,
    tau: float | None,
    max_error: float | None,
    budget: int | None,
    grid_noise: float | None,
    keep_noise: bool,
    lossless: bool = False,
) -> Request:
    """The request that these arguments make; none of them is `DEFAULT_TAU`, or what `lossless` takes.

    Raises `InvalidArgument` for values out of range, and for two wishes at once.
    """
    if sum(value is not None for value in (tau, max_error, budget)) > 1:
        raise InvalidArgument(
            "more than one of tau, max_error and budget is given", "Give one of them."
        )
    if tau is None and (max_error is not None or budget is not None):
        if grid_noise is not None or keep_noise:
            raise InvalidArgument(
                "grid_noise and keep_noise belong to tau",
                "An error or a budget decides ranks and grid by itself: leave them out.",
            )
        return (
            ErrorRequest(checked_error(max_error))
            if max_error is not None
            else _budget(budget or 0)
        )
    if lossless and tau is None and max_error is None and budget is None:
        if grid_noise is not None or keep_noise:
            raise InvalidArgument(
                "grid_noise and keep_noise belong to tau", "Give a tau too, or leave them out."
            )
        return LosslessRequest()
    noise = DEFAULT_GRID_NOISE if grid_noise is None else grid_noise
    if not 0 < noise <= 1:
        raise InvalidArgument(
            f"grid noise {noise} is outside (0, 1]", f"{DEFAULT_GRID_NOISE} is the default."
        )
    chosen = checked_tau(DEFAULT_TAU if tau is None else tau)
    return TauRequest(chosen, float(noise), keep_noise, by_default=tau is None)


def checked_tau(tau: float) -> float:
    """Raises `InvalidArgument` for a tau outside (0, 1]."""
    if not 0 < tau <= 1:
        raise InvalidArgument(f"tau {tau} is outside (0, 1]", f"{DEFAULT_TAU} is the default.")
    return float(tau)


def checked_taus(taus: Iterable[float]) -> tuple[float, ...]:
    """Each once, ascending. Raises `InvalidArgument` where none is given or one is outside (0, 1]."""
    found = tuple(sorted({checked_tau(tau) for tau in taus}))
    if not found:
        raise InvalidArgument("no tau is given", f"Give some, such as {DEFAULT_TAU}.")
    return found


def checked_error(max_error: float) -> float:
    """Raises `InvalidArgument` for a relative error outside (0, 1)."""
    if not 0 < max_error < 1:
        raise InvalidArgument(
            f"the largest error {max_error} is outside (0, 1)",
            "It is relative to the delta: 1 would be the base itself; 0.3 keeps most of a subject.",
        )
    return float(max_error)


def _budget(budget: int) -> BudgetRequest:
    if budget < 1:
        raise InvalidArgument(f"a budget of {budget} bytes holds nothing", "Give it more.")
    return BudgetRequest(budget)
