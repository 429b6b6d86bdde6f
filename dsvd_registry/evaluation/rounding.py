"""Weights rounded as other ways of storing a model round them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

import torch

from ..checkpoint import TensorInfo
from ..checkpoint.tensor_info import DELTA_DTYPES, tensor_bytes
from .models import Rounding

LEVELS = 127  # on each side of zero


def rounded(values: torch.Tensor, rounding: Rounding) -> torch.Tensor:
    """A weight after rounding, in its own dtype. With int8, vectors and scalars stay as they are."""
    if not (values.is_floating_point() and values.numel()):
        return values
    match rounding:
        case "fp16":
            return values.to(torch.float16).to(values.dtype)
        case "int8 per channel":
            return (
                _quantised(values, values.flatten(1).abs().amax(1))
                if _is_matrix(values)
                else values
            )
        case "int8 per tensor":
            return _quantised(values, values.abs().amax()[None]) if _is_matrix(values) else values
        case _:
            assert_never(rounding)


def rounded_size(tensors: Iterable[TensorInfo], rounding: Rounding) -> int:
    """The bytes that these tensors take after rounding, with the scales of int8 in fp32."""
    return sum(_size(info, rounding) for info in tensors)


def _size(info: TensorInfo, rounding: Rounding) -> int:
    if info.dtype not in DELTA_DTYPES:
        return tensor_bytes(info.dtype, info.shape)
    if rounding == "fp16":
        return 2 * info.elements
    if len(info.shape) < 2:
        return tensor_bytes(info.dtype, info.shape)
    return info.elements + 4 * (info.shape[0] if rounding == "int8 per channel" else 1)


def _is_matrix(values: torch.Tensor) -> bool:
    return values.ndim >= 2


def _quantised(values: torch.Tensor, largest: torch.Tensor) -> torch.Tensor:
    scale = (largest.double() / LEVELS).reshape(-1, *[1] * (values.ndim - 1))
    levels = torch.where(scale > 0, values.double() / scale, 0.0).round()
    return (levels * scale).to(values.dtype)
