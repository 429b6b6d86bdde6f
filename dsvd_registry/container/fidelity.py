"""The header's fields of a container made to an error or a size (spec, "Feature: fidelity")."""

from __future__ import annotations

from typing import Any

from ..errors import ContainerError
from . import limits
from .json_fields import Fields
from .records import Fidelity, Header, LowRankRecord

WHERE = "encoding.fidelity"


def fidelity_object(fidelity: Fidelity) -> dict[str, Any]:
    """The JSON of `encoding.fidelity`, without the fields that were not requested."""
    requested = {"max_error": fidelity.max_error, "budget": fidelity.budget}
    return {
        "error": fidelity.error,
        **{name: value for name, value in requested.items() if value is not None},
    }


def parse_fidelity(value: Any) -> Fidelity:
    """Read `encoding.fidelity`; `check_fidelity` checks the rules across fields.

    Raises `ContainerError` for a field that breaks its own rule.
    """
    fields = Fields(value, WHERE)
    fidelity = Fidelity(
        error=fields.real("error"),
        max_error=fields.real("max_error") if fields.has("max_error") else None,
        budget=fields.integer("budget", 1, limits.MAX_SIZE) if fields.has("budget") else None,
    )
    fields.end()
    return fidelity


def check_fidelity(header: Header) -> None:
    """Check the rules of the feature. Raises `ContainerError` for the first that `header` breaks."""
    fidelity = header.encoding.fidelity
    if fidelity is None:
        return
    if fidelity.max_error is None and fidelity.budget is None:
        raise ContainerError(f"{WHERE} has neither max_error nor budget")
    if fidelity.max_error is not None and fidelity.budget is not None:
        raise ContainerError(f"{WHERE} has max_error and budget, but may have only one of them")
    if fidelity.max_error is not None:
        if not 0 < fidelity.max_error < 1:
            raise ContainerError(f"{WHERE}: max_error is outside (0, 1)")
        if fidelity.error > fidelity.max_error:
            raise ContainerError(f"{WHERE}: error is over max_error")
    if header.encoding.grid_noise != 0:
        raise ContainerError("encoding: grid_noise is not 0.0, as fidelity requires")
    for tensor in header.tensors:
        if isinstance(tensor, LowRankRecord) and tensor.tau_rank > tensor.rank:
            raise ContainerError(
                f"tensor {tensor.name!r}: tau_rank is over rank, and fidelity promises encoding.tau"
            )


def check_budget(header: Header, size: int) -> None:
    """Check a container's size against its budget, if it has one. Raises `ContainerError`."""
    fidelity = header.encoding.fidelity
    if fidelity is not None and fidelity.budget is not None and size > fidelity.budget:
        raise ContainerError(f"{size} bytes are over the budget of {fidelity.budget} bytes")
