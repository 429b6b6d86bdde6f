"""Requests: one type for each kind of fidelity that a caller can ask for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from .. import canonical
from ..errors import InvalidArgument
from ..tau import checked_tau

WEIGHTS_KEY = "weights"  # of the chosen entry of a torch file, in settings
DEFAULT_TAU = 0.5
DEFAULT_TAUS = (0.06, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)  # of a curve, for the choice of a tau
DEFAULT_GRID_NOISE = 0.015


@dataclass(frozen=True)
class TauRequest:
    """A request for the energy `tau`, in (0, 1], in each layer.

    `grid_noise`, in (0, 1]: the error that the integer grid may add, as a share of the error that
    truncation leaves. `keep_noise`: store the tau rank, even where it is above the noise rank.
    `by_default`: the caller gave no tau, so a file of another kind may use another default.
    """

    tau: float
    grid_noise: float
    keep_noise: bool
    by_default: bool = False

    def settings(self) -> str:
        """Canonical JSON of the request; equal requests have equal settings."""
        return canonical.encode_small(
            {"grid_noise": self.grid_noise, "keep_noise": self.keep_noise, "tau": self.tau}
        ).decode()


@dataclass(frozen=True)
class ErrorRequest:
    """A request for the fewest bytes with a relative Frobenius error of at most `max_error`.

    The error is that of the whole delta, over all tensors.
    """

    max_error: float

    def settings(self) -> str:
        """Canonical JSON of the request; equal requests have equal settings."""
        return canonical.encode_small({"max_error": self.max_error}).decode()


@dataclass(frozen=True)
class BudgetRequest:
    """A request for the least error in a container of at most `budget` bytes."""

    budget: int

    def settings(self) -> str:
        """Canonical JSON of the request; equal requests have equal settings."""
        return canonical.encode_small({"budget": self.budget}).decode()


@dataclass(frozen=True)
class LosslessRequest:
    """A request for the fewest bytes of container and residual together.

    The tau and the error of the container alone follow from that.
    """

    def settings(self) -> str:
        """Canonical JSON of the request; equal requests have equal settings."""
        return canonical.encode_small({"lossless": True}).decode()


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
    """Make a request from the arguments of a caller.

    Without a tau, an error and a budget it is a `LosslessRequest` if `lossless` is set, otherwise a
    request for `DEFAULT_TAU`. Raises `InvalidArgument` for values out of range, and for arguments
    that exclude each other.
    """
    if sum(value is not None for value in (tau, max_error, budget)) > 1:
        raise InvalidArgument(
            "more than one of tau, max_error and budget is given", "Give one of them."
        )
    if tau is None and (max_error is not None or budget is not None):
        if grid_noise is not None or keep_noise:
            raise InvalidArgument(
                "grid_noise and keep_noise belong to tau",
                "Leave them out: an error or a budget decides ranks and grid by itself.",
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


def checked_error(max_error: float) -> float:
    """Return the error as a float. Raises `InvalidArgument` if it is outside (0, 1)."""
    if not 0 < max_error < 1:
        raise InvalidArgument(
            f"the largest error {max_error} is outside (0, 1)",
            "It is relative to the delta: 1 would be the base itself, 0.3 keeps most of a subject.",
        )
    return float(max_error)


def _budget(budget: int) -> BudgetRequest:
    if budget < 1:
        raise InvalidArgument(f"a budget of {budget} bytes is too small", "Give at least 1 byte.")
    return BudgetRequest(budget)


def with_weights(settings: str, weights: str | None) -> str:
    """The settings (canonical JSON) with the entry of a torch file that was chosen; unchanged without.

    A file such as {"model": ..., "ema": ...} has one digest, and each of its entries may be a version.
    """
    if weights is None:
        return settings
    return canonical.encode_small({**_parsed(settings), WEIGHTS_KEY: weights}).decode()


def weights_of(settings: str) -> str | None:
    """The chosen entry, or None."""
    found = _parsed(settings).get(WEIGHTS_KEY)
    return found if isinstance(found, str) else None


def without_weights(settings: str) -> str:
    """The settings without the chosen entry."""
    parsed = _parsed(settings)
    if WEIGHTS_KEY not in parsed:
        return settings
    del parsed[WEIGHTS_KEY]
    return canonical.encode_small(parsed).decode()


def _parsed(settings: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(settings)
    return parsed
