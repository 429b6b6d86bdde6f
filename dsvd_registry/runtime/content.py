"""Which bits of a base a tensor is: what tells that two are equal without a look at either."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..container.records import BasedRecord, BaseTensor
from ..layouts import View


@dataclass(frozen=True)
class Content:
    """Base tensors, as (SHA-256, dtype, shape), that become one array through `view`."""

    tensors: tuple[tuple[str, str, tuple[int, ...]], ...]
    view: View


def content_of(tensors: Sequence[BaseTensor], view: View) -> Content:
    """What `view` makes of these base tensors."""
    return Content(tuple((t.sha256, t.dtype, t.shape) for t in tensors), view)


def composed(record: BasedRecord, outer: View) -> Content | None:
    """What `outer` makes of the array that the record's view makes; None if no one view does.

    Where it gives None, or another shape than somebody else's, the bits may be equal all the same.
    """
    base, inner = record.base, record.view
    if outer.kind == "reshape":
        return content_of(base, inner)
    if inner.kind == "reshape" and base[0].shape == record.shape:
        return content_of(base, outer)
    if inner.kind == outer.kind == "transpose":
        return content_of(base, View())
    if inner.kind == "concatenate" and outer.kind == "slice":
        first = 0
        for tensor in base:
            if (first, tensor.shape[0]) == (outer.first, outer.rows):
                return content_of((tensor,), View())
            first += tensor.shape[0]
    return None
