"""The export of a version as a LoRA file, which appears under its name only when it is complete."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import assert_never

import torch

from ..checkpoint import TensorInfo
from ..checkpoint.layout import canonical_layout
from ..codec.exact_product_torch import CPU, ieee_arithmetic
from ..codec.torch_tensors import tensor_to_bytes
from ..container.reader import Container
from ..errors import InvalidArgument, ResultMismatch
from ..fs import check_place, new_file
from ..layouts.families import family_name
from .collect import Collected, collect, planned_ranks, sides
from .comfyui import ComfyUI
from .enlarge_pairs import check_not_lost, enlarging
from .exported import DTYPES, FORMATS, Dtype, ExportedLora, Format, WrittenFile
from .formats import LoraFormat, Tensors
from .kohya import Kohya
from .layers import MODELS, Layers, find_layers
from .peft import Peft
from .version_deltas import Base, Deltas

_TORCH_DTYPES: dict[Dtype, torch.dtype] = {"fp16": torch.float16, "fp32": torch.float32}
FILE_METADATA = {"format": "pt"}
_NAMES = {torch.float16: "F16", torch.float32: "F32"}


def export_lora(
    container: Container,
    base: Base,
    output: Path,
    *,
    format: Format,
    rank_limit: int | None,
    dtype: Dtype,
    replace: bool,
    advance: Callable[[int], None],
    size: int | None = None,
    described: Mapping[str, str] = MappingProxyType({}),
) -> ExportedLora:
    """Write the delta of `container` to `output` as a LoRA file of `format`.

    Nothing is left behind after an error.

    Args:
        container: the version's container.
        base: its base, open.
        output: the file to write.
        format: the names and layout of the file.
        rank_limit: the most components of a module; the first ones are the largest. A matrix that
            is stored dense is decomposed, to this rank or to the smallest whose loss is below the
            rounding of `dtype`. In PEFT's format every module has this very rank.
        dtype: the dtype of the file's tensors.
        replace: overwrite `output` if it exists.
        advance: called with the bytes of each of the version's tensors when it is done.
        size: the size that the file must have (see `planned_size`); None for that of its content.
        described: metadata of the file, beside those that its format needs.

    Raises:
        InvalidArgument: for a family that has no such format, if the file would be empty, and for a
            rank above that of any layer that would be filled up.
        Conflict: if `output` exists and `replace` is false.
        ContainerError: for a damaged container.
        BaseMismatch: for a damaged base.
        StorageError: if the file cannot be written.
    """
    _check_arguments(format, rank_limit, dtype)
    header, kind = container.header, _TORCH_DTYPES[dtype]
    tensors = {t.name: t for t in header.tensors}
    layers = find_layers(tensors)
    check_place(output, replace=replace)
    ranks = tuple(planned_ranks(header, layers, rank_limit))
    lora = lora_format(format, layers, ranks)
    if lora.fills_rank and rank_limit is not None:
        _check_filled(layers, rank_limit)
    with ieee_arithmetic(CPU):
        deltas = Deltas(container, base)
        collected = collect(header, deltas, layers, lora, rank_limit, kind, advance)
        enlarged = enlarging(collected, kind) if lora.keeps_alphas else 0
        if enlarged:
            lora = lora_format(format, layers, ranks, enlarged)
            collected = collect(header, deltas, layers, lora, rank_limit, kind, lambda _: None)
    if not collected.pairs and not collected.whole:
        raise InvalidArgument(
            f"the format {format} can contain none of the version's changes",
            "`dsvd show REF --tensors` lists the changes; `dsvd materialize` writes all of them.",
        )
    check_not_lost(collected)
    metadata = dict(described) | lora.metadata(collected.pairs) | FILE_METADATA
    metadata |= {"dsvd.base": header.base_digest}
    sha256, written = _write(_tensors(lora, collected), metadata, output, replace, size)
    return _account(collected, output, format, layers.family, dtype, written, sha256)


def _check_arguments(format: Format, rank_limit: int | None, dtype: Dtype) -> None:
    """Raise `InvalidArgument` for a value that `export_lora` does not take."""
    for name, value, known in (("format", format, FORMATS), ("dtype", dtype, DTYPES)):
        if value not in known:
            raise InvalidArgument(f"{name} {value!r} is unknown", f"Take {', '.join(known)}.")
    if rank_limit is not None and rank_limit < 1:
        raise InvalidArgument(f"rank limit {rank_limit} is not above 0", "Give 1 or more.")


def _check_filled(layers: Layers, rank: int) -> None:
    """Raise `InvalidArgument` for a rank that is nothing but zeros in every layer."""
    matrices = [
        one.layer for views in layers.views.values() for one in views if one.layer.is_matrix
    ]
    full = max((min(sides(layer.shape)) for layer in matrices), default=0)
    if rank > full:
        raise InvalidArgument(
            f"rank limit {rank} is above {full}, the full rank of the largest layer",
            "Give less: in this format every layer is filled up to the rank limit.",
        )


def lora_format(
    format: Format, layers: Layers, ranks: tuple[int, ...], enlarged: int = 0
) -> LoraFormat:
    """Make the format. Raises `InvalidArgument` for one that has no names for the family."""
    if format != "peft" and "unet" not in MODELS[layers.family]:
        raise InvalidArgument(
            f"a LoRA of {family_name(layers.family)} is not written in the format {format}",
            "Take --format peft, which diffusers loads.",
        )
    unet = {layer.path for layer in layers.of("unet")}
    match format:
        case "kohya":
            return Kohya(layers.family, unet, ranks, enlarged)
        case "peft":
            return Peft(layers.family)
        case "comfyui":
            return ComfyUI(layers.family, unet, enlarged)
        case _:
            assert_never(format)


def _tensors(lora: LoraFormat, collected: Collected) -> Tensors:
    tensors = dict(collected.whole)
    for key, pair in collected.pairs.items():
        tensors |= lora.tensors(key, pair)
    return tensors


def _write(
    tensors: Tensors, metadata: dict[str, str], output: Path, replace: bool, planned: int | None
) -> tuple[str, int]:
    """Write a canonical safetensors file, and return its SHA-256 and size.

    A file of a planned size gets spaces behind its JSON.
    """
    infos = (TensorInfo(name, _NAMES[t.dtype], tuple(t.shape)) for name, t in tensors.items())
    layout = canonical_layout(infos, metadata)
    prefix = layout.prefix if planned is None else _lengthened(layout.prefix, planned - layout.size)
    total = layout.size + len(prefix) - len(layout.prefix)
    digest = hashlib.sha256(prefix)
    with new_file(output.parent, total) as file:
        file.write(prefix)
        for name, size in zip(layout.order, layout.sizes, strict=True):
            data = tensor_to_bytes(tensors[name])
            if len(data) != size:
                raise ResultMismatch(f"{name!r} has {len(data)} bytes, not {size}")
            digest.update(data)
            file.write(data)
        file.publish(output, replace=replace)
    return digest.hexdigest(), total


def _lengthened(prefix: bytes, spaces: int) -> bytes:
    if spaces < 0:
        raise ResultMismatch(f"the file has {-spaces} bytes more than were planned")
    length = int.from_bytes(prefix[:8], "little") + spaces
    return length.to_bytes(8, "little") + prefix[8:] + b" " * spaces


def _account(
    collected: Collected,
    output: Path,
    format: Format,
    family: str,
    dtype: Dtype,
    size: int,
    sha256: str,
) -> ExportedLora:
    total = collected.total()
    omitted = sum(square for _, _, square in collected.omitted if square is not None)

    def relative(square: float) -> float:
        return math.sqrt(square / total) if total else 0.0

    return ExportedLora(
        path=output,
        format=format,
        family=family,
        dtype=dtype,
        size=size,
        sha256=sha256,
        files=(WrittenFile(output, size, sha256),),
        modules=tuple(collected.module_rows()),
        differences=tuple(sorted(collected.whole)),
        left_out=tuple(collected.left_out()),
        error=relative(omitted + sum(loss.lost for loss in collected.losses)),
        left_out_error=relative(omitted),
        cut_error=relative(sum(loss.cut for loss in collected.losses)),
        rounding_error=relative(sum(loss.rounded for loss in collected.losses)),
    )
