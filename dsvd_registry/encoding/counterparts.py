"""What each tensor of a fine-tune is a change of: tensors of its base, whatever layout either is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..checkpoint import Checkpoint, TensorInfo
from ..checkpoint.dtypes import DELTA_DTYPES
from ..container.records import BaseTensor, RawReason, View
from ..errors import BaseMismatch
from ..layouts import Correspondence, describe, map_with_variants
from ..reconstruction.base_weights import BaseWeights


@dataclass(frozen=True)
class Counterpart:
    """Tensors of a base that become, through `view`, what a source tensor is taken against.

    `shape`: of the rows that both have. `new_rows`: how many the source has besides, at the end.
    """

    base: tuple[BaseTensor, ...]
    view: View
    shape: tuple[int, ...]
    new_rows: int


@dataclass(frozen=True)
class Counterparts:
    """Of every tensor of a fine-tune its counterpart, or why it has none."""

    found: Mapping[str, Counterpart]
    reasons: Mapping[str, RawReason]


def find_counterparts(checkpoint: Checkpoint, base: BaseWeights) -> Counterparts:
    """From names, dtypes and shapes alone.

    Raises `BaseMismatch` for a base of another family, and for one that has no counterpart at all.
    """
    there = {t.name: TensorInfo(t.name, t.dtype, t.shape) for t in base.tensors.values()}
    names = map_with_variants(there, checkpoint.tensors, checkpoint.variants)
    found: dict[str, Counterpart] = {}
    reasons: dict[str, RawReason] = {one.tensor: one.reason for one in names.unmatched}
    for one in names.correspondences:
        counterpart = _counterpart(checkpoint.tensors[one.tensor], one, base)
        if isinstance(counterpart, Counterpart):
            found[one.tensor] = counterpart
        else:
            reasons[one.tensor] = counterpart
    if not found:
        some = ", ".join(repr(name) for name in list(checkpoint.tensors)[:3]) or "none at all"
        raise BaseMismatch(
            f"{checkpoint.path} ({describe(checkpoint.tensors)}) shares no tensor with the base "
            f"{base.name!r} ({describe(there)}): it has {some}",
            "Give the base that the checkpoint was fine-tuned from.",
        )
    return Counterparts(found, reasons)


def _counterpart(
    info: TensorInfo, names: Correspondence, base: BaseWeights
) -> Counterpart | RawReason:
    tensors = tuple(base.tensors[name] for name in names.base)
    viewed = names.view.shape([tensor.shape for tensor in tensors])
    longer = len(info.shape) == len(viewed) and info.shape[:1] > viewed[:1]
    new_rows = info.shape[0] - viewed[0] if longer else 0
    dtypes = {info.dtype, *(tensor.dtype for tensor in tensors)}
    if (new_rows or len(dtypes) > 1) and not dtypes <= set(DELTA_DTYPES):
        return "dtype" if info.dtype not in DELTA_DTYPES else "base_dtype"
    shape = (info.shape[0] - new_rows, *info.shape[1:]) if new_rows else info.shape
    return Counterpart(
        tensors, View(names.view.kind, names.view.first, names.view.rows), shape, new_rows
    )
