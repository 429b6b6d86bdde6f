"""The options of an addition, and the checked request made from them; the labels of a version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from ...catalog import BaseRecord, VersionRecord
from ...catalog.metadata_edits import check_entries
from ...encoding.request import Request, request_of
from ...errors import Conflict, InvalidArgument
from ...store import names
from ...store.event_fields import MAX_TEXT
from ..describing.attached_bytes import AttachedBytes, read_picture
from ..describing.beside import attachment_name
from ..repository import Repository
from .model_names import NameRule, name_rule


def checked_labels(tags: Iterable[str], note: str) -> tuple[str, ...]:
    """The tags without repeats. Raises `InvalidArgument`, `Conflict` if two differ in case alone."""
    if len(note) > MAX_TEXT:
        raise InvalidArgument(f"the note has {len(note)} characters, more than {MAX_TEXT}")
    found = {names.check_name("tag", tag): names.folded(tag) for tag in tags}
    if len(set(found.values())) < len(found):
        raise Conflict("two of the tags differ in case alone", "Give one of them.")
    return tuple(found)


def labelled(
    version: VersionRecord, note: str, tags: Iterable[str], repository: Repository
) -> VersionRecord:
    """Set the labels of a version; an empty note keeps the present one. Gives the changed record."""
    tags = [tag for tag in tags if tag not in version.tags]
    if not tags and note in ("", version.note):
        return version
    return repository.catalog.set_labels(version.model, version.number, note=note, tags=tags)


class AddOptions(TypedDict, total=False):
    """The options that `Registry.add` and `Registry.add_many` share.

    At most one of `tau`, `max_error` and `budget` is given.
    """

    base: str | None
    """Name or digest of the base; default: the base that `Registry.best_base` finds, if it is sure."""
    tau: float | None
    """The energy in (0, 1] that each layer keeps: a share of the sum of its singular values;
    default 0.5."""
    max_error: float | None
    """Largest relative Frobenius error in (0, 1) of the whole delta, reached in the fewest bytes."""
    budget: int | None
    """Largest size of the container in bytes, reached with the least error."""
    grid_noise: float | None
    """With tau: the largest grid noise, a share in (0, 1] of the error; default 0.015."""
    keep_noise: bool
    """With tau: keep components beyond the noise rank, which hold only the rounding noise of
    half-precision weights."""
    lossless: bool
    """Store a residual too, so that the source comes back to the bit; of a LoRA, the file itself."""
    device: str
    """The torch device that computes the singular values, "cpu" or "cuda"."""
    skip_unsupported: bool
    """Leave out, and list, the layers of a LoRA file that cannot be merged. Without it such a file
    is refused."""
    keep_extras: bool
    """Keep the files of a folder that do not belong to its model. Without it they are left out."""
    weights: str | None
    """The entry to use of a torch file that has several, such as "ema"."""
    name_from: str | None
    """The source of model names: "parent", "stem", or a pattern such as "{parent}-{stem}"."""
    note: str
    """A note on the version, at most 65,536 characters."""
    tags: Iterable[str]
    """Tags of the version."""
    metadata: Mapping[str, str]
    """Metadata of the version: keys and values, such as {"trigger": "sks dog"}."""
    preview: str | Path | None
    """A picture to attach to the version as its preview."""


@dataclass(frozen=True)
class AddRequest:
    """The checked options of one or many additions. `base`: None to find the base of each file."""

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
    metadata: Mapping[str, str]
    preview: AttachedBytes | None
    preview_name: str


def add_request(options: AddOptions, repository: Repository) -> AddRequest:
    """Check the options before a file is opened, and make the request.

    Raises `InvalidArgument`, `Conflict` for two tags that differ in case alone, `NotFound` if there
    is no such base.
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
    metadata, preview = dict(options.get("metadata", {})), options.get("preview")
    check_entries(metadata)
    if device != "cpu":
        from ...codec.torch_tensors import check_device

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
        metadata=metadata,
        preview=None if preview is None else read_picture(Path(preview)),
        preview_name="" if preview is None else attachment_name(Path(preview)),
    )
