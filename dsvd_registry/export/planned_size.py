"""The size of a LoRA file before any of its numbers is computed.

Ranks of low-rank records stand in the header. A delta that is stored dense may get any rank up to the
full one; there the size is an upper bound, which `export_lora` fills up with spaces behind the file's
JSON, as the format allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import torch

from ..checkpoint import TensorInfo
from ..checkpoint.layout import canonical_layout
from ..container.records import (
    CastRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    QuantisedRecord,
    RawRecord,
    SameRecord,
    TensorRecord,
)
from ..errors import InvalidArgument
from .collect import planned_ranks
from .export_lora import FILE_METADATA, lora_format
from .exported import Format
from .formats import ATTENTION_END, LoraFormat
from .layers import MODELS, Layer, Layers, find_layers
from .pairs import Pair

LONGER_WORDS = 64
"""Bytes by which alpha and rank in the metadata may be longer than planned."""


def usual_format(layers: Layers) -> Format:
    """The format that most loaders of a family read: kohya's where there is a U-Net, else PEFT's."""
    return "kohya" if "unet" in MODELS[layers.family] else "peft"


def planned_size(header: Header) -> int | None:
    """The size in bytes of a version's LoRA in fp16 and its usual format; None if it can have none."""
    try:
        layers = find_layers({t.name: t for t in header.tensors})
    except InvalidArgument:
        return None
    ranks = tuple(planned_ranks(header, layers, None))
    lora = lora_format(usual_format(layers), layers, ranks)
    pairs = dict(_pairs(header, layers, lora))
    if not pairs or any(_is_uneven(layers, record) for record in header.tensors):
        return None
    pairs = _attention_ends(layers, lora, set(pairs)) | pairs
    tensors = {
        name: tensor
        for key, pair in pairs.items()
        for name, tensor in lora.tensors(key, pair).items()
    }
    infos = (
        TensorInfo(name, "F32" if t.dtype == torch.float32 else "F16", tuple(t.shape))
        for name, t in tensors.items()
    )
    metadata = lora.metadata(pairs) | FILE_METADATA | {"dsvd.base": header.base_digest}
    return canonical_layout(infos, metadata).size + LONGER_WORDS


def _pairs(header: Header, layers: Layers, lora: LoraFormat) -> Iterator[tuple[str, Pair]]:
    """A pair of the largest rank for each matrix that changes."""
    for record in header.tensors:
        for viewed in layers.views.get(record.name, ()):
            layer = viewed.layer
            key = lora.pair_key(layer) if layer.is_matrix else None
            rank = _rank(header, record, layer)
            if key is not None and rank:
                yield key, _pair(layer, rank)


def _is_uneven(layers: Layers, record: TensorRecord) -> bool:
    """True for a matrix of unknown rank whose components take 2 bytes more than a multiple of 4.

    Spaces cannot make up for those: loaders want fp32 numbers at multiples of 4.
    """
    matrices = [v.layer for v in layers.views.get(record.name, ()) if v.layer.is_matrix]
    sides = [layer.shape[0] + torch.Size(layer.shape[1:]).numel() for layer in matrices]
    return not isinstance(record, SameRecord | LowRankRecord) and any(side % 2 for side in sides)


def _rank(header: Header, record: TensorRecord, layer: Layer) -> int:
    match record:
        case LowRankRecord():
            return record.rank
        case DenseRecord() | RawRecord():
            rows, *others = layer.shape
            return min(rows, torch.Size(others).numel())
        case SameRecord():
            return 0
        case QuantisedRecord():
            return 0
        case CastRecord():
            return _rank(header, header.tensors[record.of], layer)
        case _:
            assert_never(record)


def _attention_ends(layers: Layers, lora: LoraFormat, taken: set[str]) -> dict[str, Pair]:
    """The empty pairs that an export may add for diffusers (see `LoraFormat.wants_attention`)."""
    found: dict[str, Pair] = {}
    for model in ("text_encoder", "text_encoder_2") if lora.wants_attention else ():
        ends = [
            one for one in layers.of(model) if one.path.endswith(ATTENTION_END) and one.is_matrix
        ]
        key = lora.pair_key(ends[0]) if ends else None
        if key is not None and key not in taken:
            found[key] = _pair(ends[0], 1)
    return found


def _pair(layer: Layer, rank: int) -> Pair:
    """A pair without numbers."""
    rows, *others = layer.shape
    ones = (1, 1) if len(layer.shape) == 4 else ()
    up, down = (
        torch.empty(side, dtype=torch.float16, device="meta")
        for side in ((rows, rank, *ones), (rank, *others))
    )
    return Pair(up, down, 1.0)
