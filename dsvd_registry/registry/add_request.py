"""The options of adding: what `Registry.add` and `Registry.add_many` take, and the request they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypedDict

from ..catalog import BaseRecord
from ..encoding.request import Request, request_of
from .labels import checked_labels
from .model_names import NameRule, name_rule
from .repository import Repository


class AddOptions(TypedDict, total=False):
    """The options that `Registry.add` and `Registry.add_many` share.

    At most one of `tau`, `max_error` and `budget` is given.
    """

    base: str | None
    """Name or digest of the base; default: the one that `Registry.best_base` is sure of."""
    tau: float | None
    """Share in (0, 1] of the sum of a layer's singular values that is kept; default 0.5."""
    max_error: float | None
    """Relative Frobenius error in (0, 1) of the whole delta, reached in the fewest bytes."""
    budget: int | None
    """Bytes that the container may take, filled with the least error."""
    grid_noise: float | None
    """With tau: the share in (0, 1] that the integer grid may add to the error; default 0.015."""
    keep_noise: bool
    """With tau: keep ranks that are but the rounding noise of half-precision weights."""
    lossless: bool
    """Keep a residual too, with which the source comes back to the bit."""
    device: str
    """The torch device that takes the spectra, "cpu" or "cuda"."""
    skip_unsupported: bool
    """Leave out what cannot be merged of a LoRA file, and list it, where it would be refused."""
    keep_extras: bool
    """Keep, as files, what of a folder is none of its model's, where it would be left out."""
    weights: str | None
    """The entry of a torch file that is meant, such as "ema", where it has several."""
    name_from: str | None
    """What models are named after: "parent", "stem", or a pattern such as "{parent}-{stem}"."""
    note: str
    """A note on the version, at most 65,536 characters."""
    tags: Iterable[str]
    """Tags of the version."""


@dataclass(frozen=True)
class AddRequest:
    """The checked options of one or many additions. `base`: None where each file's own is found."""

    base: BaseRecord | None
    fidelity: Request
    lossless: bool
    device: str
    skip_unsupported: bool
    keep_extras: bool
    weights: str | None
    names: NameRule
    note: str
    tags: tuple[str, ...]


def add_request(options: AddOptions, repository: Repository) -> AddRequest:
    """The request that the options make, checked before a file is opened.

    Raises `InvalidArgument`, `Conflict` for two tags that differ in case, `NotFound` for the base.
    """
    base, device, note = options.get("base"), options.get("device", "cpu"), options.get("note", "")
    lossless = options.get("lossless", False)
    fidelity = request_of(
        tau=options.get("tau"),
        max_error=options.get("max_error"),
        budget=options.get("budget"),
        grid_noise=options.get("grid_noise"),
        keep_noise=options.get("keep_noise", False),
        lossless=lossless,
    )
    tags = checked_labels(options.get("tags", ()), note)
    if device != "cpu":
        from ..codec.devices import check_device

        check_device(device)
    return AddRequest(
        base=None if base is None else repository.catalog.base(base),
        fidelity=fidelity,
        lossless=lossless,
        device=device,
        skip_unsupported=options.get("skip_unsupported", False),
        keep_extras=options.get("keep_extras", False),
        weights=options.get("weights"),
        names=name_rule(options.get("name_from")),
        note=note,
        tags=tags,
    )
