"""The tensors of a base that a LoRA file changes, and the changes of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import TensorInfo
from ..checkpoint.checkpoint import shown
from ..checkpoint.tensor_info import DELTA_DTYPES
from ..errors import BaseMismatch, CheckpointError
from ..layouts import describe
from ..layouts.families import family_name
from ..layouts.view import Shape
from .adapter import Adapter, Change, FactorChange, Refused
from .base_layers import BaseLayers
from .family import family_of
from .layer_place import LayerPlace, LayerRows

NO_LAYER = "the base has no such layer"
SEVERAL = "several layers of the base could be meant by that name"
OTHER_SHAPE = "the base's layer has another shape"
SAME_WEIGHTS = "another layer of the file changes the same weights"


@dataclass(frozen=True)
class PlacedChange:
    """A change of a layer, and the rows of that layer that are in one tensor of the base.

    `shape`: the layer's, as the file has it. `rows`: all in one tensor, without overlap.
    """

    change: Change
    shape: Shape
    rows: tuple[LayerRows, ...]


@dataclass(frozen=True)
class Merge:
    """The changes of a base, by tensor: those of one tensor do not overlap. `refused`: the rest."""

    changes: Mapping[str, tuple[PlacedChange, ...]]
    refused: tuple[Refused, ...]


def place_changes(
    adapter: Adapter,
    base: Mapping[str, TensorInfo],
    path: Path,
    base_name: str,
    metadata: Mapping[str, str],
) -> Merge:
    """Find every layer of a LoRA file in a base.

    Args:
        adapter: the content of the file.
        base: the base's tensors, by name.
        path: the file, for messages.
        base_name: the base's name, for messages.
        metadata: the metadata of the file's header.

    Raises:
        BaseMismatch: for the LoRA of another family, and for one that shares no layer with the base.
        CheckpointError: if diffusers cannot convert the base's names.
    """
    _check_family(adapter, base, path, base_name, metadata)
    layers = BaseLayers(base)
    placed: dict[str, list[PlacedChange]] = {}
    refused: list[Refused] = []
    for change in adapter.changes:
        place = _find_place(change, layers)
        reason = place if isinstance(place, str) else _refusal(place, base, placed)
        if isinstance(place, str) or reason is not None:
            refused += [Refused(tensor, str(reason)) for tensor in change.tensors]
        else:
            for name in dict.fromkeys(rows.tensor for rows in place.rows):
                rows_of_tensor = tuple(rows for rows in place.rows if rows.tensor == name)
                placed.setdefault(name, []).append(
                    PlacedChange(change, place.shape, rows_of_tensor)
                )
    if refused and not placed:
        raise BaseMismatch(
            f"{path} changes no layer of the base {base_name!r} ({describe(base)}): "
            f"{_counted(refused)}",
            "Give the base that the LoRA was trained on.",
        )
    return Merge({name: tuple(changes) for name, changes in placed.items()}, tuple(refused))


def check_whole(path: Path, refused: Iterable[Refused], *, is_all: bool = False) -> None:
    """Raise `CheckpointError`, with every reason, if any tensor is refused.

    `is_all`: all tensors of the file are refused.
    """
    known = list(refused)
    if known:
        raise CheckpointError(
            f"{path}: {len(known)} of its tensors cannot be merged into a weight: {_counted(known)}",
            "Merge it into its base with the tool that made it, and add the result."
            if is_all
            else "`--skip-unsupported` adds the rest of the file, and lists what is left out.",
        )


def _counted(refused: Iterable[Refused]) -> str:
    known = list(refused)
    examples = {one.reason: one.tensor for one in reversed(known)}
    counts = Counter(one.reason for one in known)
    return "; ".join(
        f"{count} times {reason}, such as {shown(examples[reason])}"
        for reason, count in counts.most_common()
    )


def _find_place(change: Change, layers: BaseLayers) -> LayerPlace | str:
    """The place of the change, or the reason why it has none."""
    reason = NO_LAYER
    for places in layers.places(change.layer, change.parameter):
        if len(places) > 1:
            return SEVERAL
        if _fits(change, places[0].shape):
            return places[0]
        reason = OTHER_SHAPE
    return reason


def _fits(change: Change, shape: tuple[int, ...]) -> bool:
    """Return whether the change fits a weight of this shape; dimensions of 1 do not count."""
    if not isinstance(change, FactorChange):
        return _spans(change.difference.shape) == _spans(shape)
    return (
        len(shape) >= 2
        and change.up.shape[0] == shape[0]
        and _spans(change.down.shape[1:]) == _spans(shape[1:])
    )


def _spans(shape: tuple[int, ...]) -> list[int]:
    return [length for length in shape if length != 1]


def _refusal(
    place: LayerPlace, base: Mapping[str, TensorInfo], placed: Mapping[str, list[PlacedChange]]
) -> str | None:
    """The reason why no change can be made at this place; None if there is none."""
    for rows in place.rows:
        dtype = base[rows.tensor].dtype
        if dtype not in DELTA_DTYPES:
            return f"the base's layer is of {dtype}"
        others = (other for change in placed.get(rows.tensor, ()) for other in change.rows)
        if any(rows.overlaps(other) for other in others):
            return SAME_WEIGHTS
    return None


def _check_family(
    adapter: Adapter,
    base: Mapping[str, TensorInfo],
    path: Path,
    base_name: str,
    metadata: Mapping[str, str],
) -> None:
    theirs, ours = family_of(adapter, metadata), describe(base)
    if "unknown" not in (theirs, ours.family) and theirs != ours.family:
        raise BaseMismatch(
            f"{path} looks like a LoRA of {family_name(theirs)}; the base {base_name!r} is {ours}",
            f"Give a base of the LoRA's own family: {family_name(theirs)}.",
        )
