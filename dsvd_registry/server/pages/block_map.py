"""The difference of two versions over the U-Net: its blocks in the order of a forward pass, by layer.

Both layouts of names are read, that of diffusers and the original one.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from ...checkpoint.layer_groups import layer_group
from ...registry.accounts.diff import TensorDifference

CELL, LABEL, HEAD = 30, 120, 74
UNRELATED = math.sqrt(2)  # the distance of two deltas of one size at right angles

_BLOCKS: tuple[tuple[re.Pattern[str], str, int], ...] = tuple(
    (re.compile(rf"(?:^|[./])(?:{pattern})"), text, order)
    for pattern, text, order in (
        (r"conv_in\.|input_blocks\.0\.0\.", "conv in", 0),
        (r"down_blocks\.(\d+)\.", "down {}", 1),
        (r"input_blocks\.(\d+)\.", "in {}", 1),
        (r"mid_block\.|middle_block\.", "mid", 2),
        (r"up_blocks\.(\d+)\.", "up {}", 3),
        (r"output_blocks\.(\d+)\.", "out {}", 3),
        (r"conv_out\.|conv_norm_out\.|out\.[02]\.", "conv out", 4),
        (r"time_embed", "time", 5),
    )
)
_LAYERS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"attn1\.to_q\.", "self-attn q"),
        (r"attn1\.to_k\.", "self-attn k"),
        (r"attn1\.to_v\.", "self-attn v"),
        (r"attn1\.to_out\.", "self-attn out"),
        (r"attn2\.to_q\.", "cross-attn q"),
        (r"attn2\.to_k\.", "cross-attn k"),
        (r"attn2\.to_v\.", "cross-attn v"),
        (r"attn2\.to_out\.", "cross-attn out"),
        (r"\.ff\.", "feed-forward"),
        (r"\.proj_(in|out)\.", "projection"),
        (r"\.(conv1|in_layers\.2)\.", "ResNet conv 1"),
        (r"\.(conv2|out_layers\.3)\.", "ResNet conv 2"),
        (r"\.(time_emb_proj|emb_layers)\.", "time projection"),
        (r"\.(conv_shortcut|skip_connection)\.", "shortcut"),
        (r"(downsamplers|upsamplers|\.op\.)", "resampling"),
        (r"norm", "norms"),
    )
)
_ROWS = (*(text for _, text in _LAYERS), "other")


@dataclass(frozen=True)
class Cell:
    """The mean distance of the tensors of one kind of layer in one block, and its place."""

    block: str
    layer: str
    x: int
    y: int
    distance: float
    tensors: int

    @property
    def opacity(self) -> str:
        """The strength of its colour, which is full for unrelated deltas."""
        return f"{min(1.0, self.distance / UNRELATED):.3f}"


@dataclass(frozen=True)
class Title:
    """The text of a row or column, and where it stands."""

    text: str
    place: int


@dataclass(frozen=True)
class BlockMap:
    """The heat map: its cells, its rows and columns, and its size."""

    cells: tuple[Cell, ...]
    rows: tuple[Title, ...]
    columns: tuple[Title, ...]
    width: int
    height: int


def block_map(tensors: Iterable[TensorDifference]) -> BlockMap | None:
    """The map of the tensors of the U-Net that have two known deltas; None without any."""
    found: dict[tuple[tuple[int, int, str], str], list[float]] = defaultdict(list)
    for tensor in tensors:
        block = block_of(tensor.name)
        if block is not None and tensor.distance is not None:
            found[block, layer_of(tensor.name)].append(tensor.distance)
    if not found:
        return None
    blocks = sorted({block for block, _ in found})
    layers = [layer for layer in _ROWS if any(layer == known for _, known in found)]
    cells = tuple(
        Cell(
            block[2],
            layer,
            LABEL + CELL * blocks.index(block),
            HEAD + CELL * layers.index(layer),
            sum(distances) / len(distances),
            len(distances),
        )
        for (block, layer), distances in sorted(found.items())
    )
    return BlockMap(
        cells,
        tuple(Title(text, HEAD + CELL * n) for n, text in enumerate(layers)),
        tuple(Title(block[2], LABEL + CELL * n) for n, block in enumerate(blocks)),
        LABEL + CELL * len(blocks) + CELL,
        HEAD + CELL * len(layers),
    )


def block_of(name: str) -> tuple[int, int, str] | None:
    """The block of a tensor, in a form that sorts as a forward pass; None outside of a U-Net."""
    if layer_group(name) in ("text encoder", "VAE", "transformer", "other"):
        return None
    for pattern, text, order in _BLOCKS:
        if match := pattern.search(name):
            number = match[1] if pattern.groups else "0"
            return order, int(number[:6]), text.format(number)
    return None


def layer_of(name: str) -> str:
    """The kind of layer of a tensor, in both layouts of names."""
    return next((text for pattern, text in _LAYERS if pattern.search(name)), "other")
