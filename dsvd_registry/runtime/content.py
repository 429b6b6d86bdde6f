"""The content of a tensor, by the base tensors it comes from: bits are compared without reading them."""

from __future__ import annotations

from ..container.records import BasedRecord, BaseTensor
from ..layouts import View, ViewedTensors
from ..layouts.view import Shape

TensorContent = tuple[str, str, Shape]
"""A base tensor by SHA-256, dtype and shape."""

Content = ViewedTensors[TensorContent]
"""The array that a view makes of base tensors which are known by their contents."""


def content_of(viewed: ViewedTensors[BaseTensor]) -> Content:
    """The content of the array that these base tensors become."""
    return ViewedTensors(tuple((t.sha256, t.dtype, t.shape) for t in viewed.tensors), viewed.view)


def composed(record: BasedRecord, outer: View) -> Content | None:
    """The content of `outer` applied to the array that the record's view makes.

    Returns None where no single view of base tensors gives that array. Two arrays may have equal
    bits although one of them has no content here, or although their contents differ in shape.
    """
    base, inner = record.base, record.view
    if outer.kind == "reshape":
        return content_of(record.viewed_base)
    if inner.kind == "reshape" and base[0].shape == record.shape:
        return content_of(ViewedTensors(base, outer))
    if inner.kind == outer.kind == "transpose":
        return content_of(ViewedTensors(base))
    if inner.kind == outer.kind == "roll" and inner.first + outer.first == base[0].shape[0]:
        return content_of(ViewedTensors(base)) if base[0].shape == record.shape else None
    if inner.kind == "concatenate" and outer.kind == "slice":
        first = 0
        for tensor in base:
            if (first, tensor.shape[0]) == (outer.first, outer.rows):
                return content_of(ViewedTensors((tensor,)))
            first += tensor.shape[0]
    return None
