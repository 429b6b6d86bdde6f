"""The names of a diffusion transformer's tensors in the layout that its file is not in.

Sizes come from the tensors: a fused layer is divided as the layer that takes its output demands, and
what does not add up has no name in the other layout. diffusers' own conversion takes FLUX's published
width for granted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import DELTA_DTYPES
from ..errors import InvalidArgument
from .transformer_marks import is_strange, words_of
from .transformer_tables import Layer, layers, tensor_names
from .view import Shape, View, ViewedTensors

_PARAMETERS = ("weight", "bias")


def transformer_in_diffusers_names(shapes: Mapping[str, Shape]) -> dict[str, ViewedTensors[str]]:
    """Map diffusers' names to the tensor of a transformer in the original layout that each is made of.

    A tensor that no rule knows, or whose shape contradicts the rule, is missing in the answer.

    Args:
        shapes: the shapes of the transformer's tensors, by their names inside it.

    Returns:
        One tensor and its view, by diffusers' name.

    Example:
        transformer_in_diffusers_names({"single_blocks.0.linear1.weight": (84, 12), ...})
        # {"single_transformer_blocks.0.attn.to_k.weight": rows 12 to 23 of it, ...}
    """
    words = words_of(shapes)
    if words is None or is_strange(shapes):
        return {}
    found = {}
    for layer in layers(shapes, words):
        swaps = layer.original.endswith(words.shift_and_scale) if words.shift_and_scale else False
        views = list(_views(layer, shapes, swaps=swaps))
        for parameter in _PARAMETERS:
            name = f"{layer.original}.{parameter}"
            if name not in shapes or not _covers(views, shapes[name]):
                continue
            for part, view in zip(layer.parts, views, strict=True):
                found[f"{part}.{parameter}"] = ViewedTensors((name,), view)
    for original, theirs in tensor_names(shapes, words):
        if original in shapes:
            found[theirs] = ViewedTensors((original,))
    return found


def original_transformer(tensors: Mapping[str, TensorInfo]) -> Iterator[TensorInfo]:
    """The tensors of the original layout that a transformer in diffusers' names becomes.

    Args:
        tensors: the transformer's tensors, by their names inside it.

    Returns:
        Names, dtypes and shapes. A transformer whose layouts have one set of names is yielded as
        it is.

    Raises:
        InvalidArgument: if a weight has no name in the original layout, or the parts of a fused
            layer are not all there, or cannot be joined.
    """
    words = words_of(tensors)
    if words is None:  # one set of names
        yield from tensors.values()
        return
    left = dict(tensors)
    for layer in layers(tensors, words):
        for parameter in _PARAMETERS:
            parts = [left.pop(f"{part}.{parameter}", None) for part in layer.parts]
            if any(parts):
                yield _joined(f"{layer.original}.{parameter}", parts)
    for original, theirs in tensor_names(tensors, words):
        if theirs in left:
            yield replace(left.pop(theirs), name=original)
    lost = [name for name, info in left.items() if info.dtype in DELTA_DTYPES]
    if lost:
        raise InvalidArgument(
            f"the transformer's tensor {lost[0]!r} has no name in the original layout",
            "Leave --layout out: it comes as it was added.",
        )


def _joined(name: str, parts: list[TensorInfo | None]) -> TensorInfo:
    first = parts[0]
    if first is not None and len(parts) == 1:
        return replace(first, name=name)
    known = [part for part in parts if part is not None and part.shape]
    kinds = {(part.dtype, part.shape[1:]) for part in known}
    if len(known) < len(parts) or len(kinds) > 1:
        raise InvalidArgument(
            f"the transformer has not all rows of {name!r}, in one dtype, to join",
            "Leave --layout out: it comes as it was added.",
        )
    rows = sum(part.shape[0] for part in known)
    return TensorInfo(name, known[0].dtype, (rows, *known[0].shape[1:]))


def _views(layer: Layer, shapes: Mapping[str, Shape], *, swaps: bool) -> Iterator[View]:
    """The view of the layer that each of its parts is; none if its shape contradicts the rule."""
    shape = shapes.get(f"{layer.original}.weight", ())
    if len(layer.parts) == 1 and not swaps:
        yield View()
    elif len(layer.parts) == 1:
        # A shift and a scale, each as wide as the layer. Most blocks make three of both, in one order.
        if len(shape) == 2 and shape[0] == 2 * shape[1] > 0:
            yield View("roll", shape[1])
        elif len(shape) == 2 and shape[0] == 6 * shape[1] > 0:
            yield View()
    else:
        first = 0
        for height in _heights(layer, shape, shapes.get(f"{layer.output}.weight", ())):
            yield View("slice", first, height)
            first += height


def _heights(layer: Layer, fused: Shape, output: Shape) -> tuple[int, ...]:
    """The rows of each part of a fused layer, whose values, and MLP, are what `output` takes.

    Queries, keys and values are equally many. An MLP in the same layer is the rest; it is gated in
    other families, which makes it as long again, so the queries must then be as wide as the layer.
    """
    if len(fused) != 2 or len(output) != 2:
        return ()
    rows, taken = fused[0], output[1]
    if len(layer.parts) == 3:
        return (taken,) * 3 if rows == 3 * taken > 0 else ()
    query = fused[1]
    mlp = taken - query
    return (query,) * 3 + (mlp,) if query > 0 and mlp > 0 and rows == 3 * query + mlp else ()


def _covers(views: list[View], shape: Shape) -> bool:
    """Return whether the views are all rows of a tensor of `shape`."""
    if not views:
        return False
    last = views[-1]
    match last.kind:
        case "slice":
            return shape[:1] == (last.first + last.rows,)
        case "roll":
            return shape[:1] == (2 * last.first,)
        case _:
            return True
