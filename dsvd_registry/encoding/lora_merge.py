"""Encoding of one tensor of a base with the changes of a LoRA file merged into it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ..checkpoint import Checkpoint, TensorInfo
from ..codec.encode_lora_factors import encode_factors
from ..codec.encode_tau import EncodeRequest, encode
from ..codec.encoded import Dense, Encoded, LowRank, Raw
from ..codec.integer_grid import OutsideGrid
from ..codec.tensor_pair import matrix_shape
from ..codec.torch_tensors import round_to, tensor_over, tensor_to_bytes
from ..container.records import BaseTensor
from ..errors import CheckpointError
from ..layouts import View, ViewedTensors
from ..lora import Change, FactorChange, PlacedChange
from ..reconstruction.base_weights import BaseWeights
from .constants import Values, is_constant, is_constant_in_base
from .encode_tensor import PackedTensor, kept_exactly
from .fine_tune import Counterpart
from .parts import bytes_parts, delta_parts, record_of, stored_size


def pack_merged(
    checkpoint: Checkpoint,
    changes: Sequence[PlacedChange],
    tensor: BaseTensor,
    base: BaseWeights,
    request: EncodeRequest,
) -> PackedTensor:
    """Encode `tensor` of the base with `changes` of the file added to it, in the base's dtype.

    The file's factors are encoded directly, without their full product, unless the tensor is a
    constant. Raises `BaseMismatch` for a damaged base, `CheckpointError` for numbers that are not
    finite or outside the range of the grid.
    """
    before = tensor_over(base.read(tensor), tensor.dtype, tensor.shape)
    data: memoryview = memoryview(b"")
    encoded: Encoded
    try:
        values = Values(base.read(tensor), tensor.dtype)
        are_factors = all(isinstance(placed.change, FactorChange) for placed in changes)
        if are_factors and not is_constant_in_base((tensor.name,), values):
            up, down = _factors(checkpoint, changes, before)
            encoded = encode_factors(before, up, down, request)
        else:
            after = _added(checkpoint, changes, before)
            data = tensor_to_bytes(after)
            if is_constant((tensor.name,), values, Values(data, tensor.dtype)):
                encoded = kept_exactly(before, after)
            else:
                encoded = encode(
                    before, after, request, lambda candidate: stored_size(candidate, data)
                )
    except OutsideGrid:
        encoded = Raw("range")
    if isinstance(encoded, Raw) and encoded.reason in ("range", "non_finite"):
        raise CheckpointError(
            f"{checkpoint.path}: the change of {tensor.name!r} is not finite, or larger or smaller "
            "than a delta can be",
            "Train or save the LoRA again: no tool can make usable weights of it.",
        )
    parts = list(delta_parts(encoded)) if isinstance(encoded, LowRank | Dense) else []
    if isinstance(encoded, Raw):
        parts = list(bytes_parts(data))
    base.release(tensor)
    return PackedTensor(
        record_of(tensor, encoded, Counterpart(ViewedTensors((tensor,)), tensor.shape, 0)),
        tuple(parts),
        encoded.singular_values if isinstance(encoded, LowRank) else None,
    )


def _factors(
    checkpoint: Checkpoint, changes: Sequence[PlacedChange], before: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors up (m, r) and down (r, n) of all changes together, float64; r sums their ranks."""
    rows, columns = matrix_shape(before)
    ups, downs = [], []
    for placed in changes:
        up, down = _pair(checkpoint, placed.change)
        if placed.rows[0].base.view.kind == "transpose":
            up, down = down.T, up.T
        else:
            whole = torch.zeros(rows, up.shape[1], dtype=torch.float64, device="cpu")
            for layer_rows in placed.rows:
                target = _viewed(whole, layer_rows.base.view)
                target.copy_(_viewed(up, layer_rows.rows))
            up = whole
        ups.append(up)
        downs.append(down.reshape(-1, columns))
    return torch.cat(ups, 1), torch.cat(downs)


def _pair(checkpoint: Checkpoint, change: Change) -> tuple[torch.Tensor, torch.Tensor]:
    """The factors of one layer as float64 matrices, (out, r) and (r, rest); up includes the scale."""
    assert isinstance(change, FactorChange)
    rank = change.down.shape[0]
    up = _read(checkpoint, change.up).reshape(-1, rank) * change.scale
    return up, _read(checkpoint, change.down).reshape(rank, -1)


def _added(
    checkpoint: Checkpoint, changes: Sequence[PlacedChange], before: torch.Tensor
) -> torch.Tensor:
    """The tensor with every change added, rounded once to its own dtype."""
    sums = before.to(torch.float64, copy=True)
    for placed in changes:
        change = placed.change
        if isinstance(change, FactorChange):
            up, down = _pair(checkpoint, change)
            added = up @ down
        else:
            added = _read(checkpoint, change.difference) * change.scale
        added = added.reshape(placed.shape)
        for layer_rows in placed.rows:
            target = _viewed(sums, layer_rows.base.view)
            target += _viewed(added, layer_rows.rows).reshape(target.shape)
    return round_to(sums, before.dtype)


def _viewed(tensor: torch.Tensor, view: View) -> torch.Tensor:
    """The view of one tensor, in the tensor's own memory: writing to it changes the tensor."""
    return view.apply([tensor], torch.cat)


def _read(checkpoint: Checkpoint, info: TensorInfo) -> torch.Tensor:
    read = tensor_over(checkpoint.read(info.name), info.dtype, info.shape).to(torch.float64)
    checkpoint.release(info.name)
    return read
