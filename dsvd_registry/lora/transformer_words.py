"""The layers of a diffusion transformer by the names of the layout that its file is not in.

A fused projection of the original layout is several tensors in diffusers, one below the other, and
the halves of the last modulation change places. Diffusers' own conversions work only for models of
the published widths.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ..layouts import View, ViewedTensors
from ..layouts.transformer_marks import words_of
from ..layouts.transformer_tables import Layer, layers
from ..layouts.view import Shape
from .layer_place import LayerRows

Words = dict[str, tuple[LayerRows, ...]]

# A layer that makes one shift and one scale: diffusers has the scale first, the original the shift. A
# layer that makes six of them, as in every block but SD 3's last, has the same order in both.
_SHIFT_AND_SCALE = ("norm_out.linear", "norm1_context.linear")


def diffusers_words(shapes: Mapping[str, Shape]) -> Words:
    """The rows of each layer, by diffusers' name, in a transformer in the original layout.

    `shapes`: the weights and biases, by their names inside the transformer, as the result has them.
    """
    table = words_of(shapes)
    words: Words = {}
    for layer in layers(shapes, table) if table is not None else ():
        width = _width(layer.original, shapes)
        for parameter in ("weight", "bias"):
            name = f"{layer.original}.{parameter}"
            if name not in shapes or not shapes[name]:
                continue
            rows = shapes[name][0]
            if len(layer.parts) == 1:
                words[f"{layer.parts[0]}.{parameter}"] = _whole(name, layer, rows, width)
                continue
            for theirs, view in _rows(layer.parts, rows, width):
                words[f"{theirs}.{parameter}"] = (LayerRows(ViewedTensors((name,), view)),)
            if _is_single(layer) and 0 < 3 * width <= rows:
                qkv = LayerRows(ViewedTensors((name,), View("slice", 0, 3 * width)))
                words[f"{layer.original}_qkv.{parameter}"] = (qkv,)
    return words


def original_words(shapes: Mapping[str, Shape]) -> Words:
    """The rows of each layer, by the original name, in a transformer in diffusers' layout.

    The rows of a fused layer are in several tensors. `shapes`: by the names inside the transformer.
    """
    table = words_of(shapes)
    words: Words = {}
    for layer in layers(shapes, table) if table is not None else ():
        width = _width(layer.parts[0], shapes)
        for parameter in ("weight", "bias"):
            names = [f"{part}.{parameter}" for part in layer.parts]
            if not all(shapes.get(name) for name in names):
                continue
            if len(names) == 1:
                rows = shapes[names[0]][0]
                rows_of_layer = _whole(names[0], layer, rows, width)
            elif len({shapes[name][1:] for name in names}) > 1:
                continue
            else:
                rows_of_layer = tuple(_below_each_other(names, shapes))
            words[f"{layer.original}.{parameter}"] = rows_of_layer
            if _is_single(layer):
                words[f"{layer.original}_qkv.{parameter}"] = rows_of_layer[:3]
    return words


def _is_single(layer: Layer) -> bool:
    return layer.original.startswith("single_blocks.") and layer.original.endswith(".linear1")


def _width(layer: str, shapes: Mapping[str, Shape]) -> int:
    """The number of columns of the layer's weight; 0 if it has no weight."""
    return (shapes.get(f"{layer}.weight") or (0,))[-1]


def _whole(name: str, layer: Layer, rows: int, width: int) -> tuple[LayerRows, ...]:
    """A layer that is one tensor in both layouts. Some have their halves the other way round."""
    if not layer.parts[0].endswith(_SHIFT_AND_SCALE) or not 0 < rows == 2 * width:
        return (LayerRows(ViewedTensors((name,))),)
    first, second = View("slice", 0, width), View("slice", width, width)
    return (
        LayerRows(ViewedTensors((name,), second), first),
        LayerRows(ViewedTensors((name,), first), second),
    )


def _rows(parts: tuple[str, ...], rows: int, width: int) -> Iterator[tuple[str, View]]:
    """The rows of each part: as many as the layer is wide, and the rest for the last part."""
    for number, name in enumerate(parts):
        first = number * width
        height = rows - first if number == len(parts) - 1 else width
        if width and height > 0:
            yield name, View("slice", first, height)


def _below_each_other(names: list[str], shapes: Mapping[str, Shape]) -> Iterator[LayerRows]:
    first = 0
    for name in names:
        rows = shapes[name][0]
        yield LayerRows(ViewedTensors((name,)), View("slice", first, rows))
        first += rows
