"""Encoding of one tensor of a merge: the sum of its deltas, or the record of one version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from ..checkpoint import TensorInfo
from ..codec.components import Components, Elements
from ..codec.encode_sum import DeltaSum, encode_alone
from ..codec.encode_tau import SizeOf
from ..codec.encoded import Dense, Encoded, LowRank, Raw, Same, delta_figures, low_rank_figures
from ..codec.integer_grid import OutsideGrid
from ..codec.torch_tensors import tensor_over, tensor_to_bytes
from ..container.delta_decoder import decoded_delta
from ..container.records import (
    CastRecord,
    DenseRecord,
    LowRankRecord,
    QuantisedRecord,
    RawRecord,
    SameRecord,
)
from ..errors import InvalidArgument
from ..fs import Bytes
from ..reconstruction.base_weights import BaseWeights
from .encode_tensor import PackedTensor, kept_exactly, viewed_bytes
from .merge_tensor import (
    SUMMABLE_RAW,
    MergeSource,
    Summed,
    Term,
    sum_of,
)
from .parts import PackedPart, bytes_parts, delta_parts, record_of, stored_size

EncodeSum = Callable[[str, DeltaSum, SizeOf], Encoded]
"""Encodes the sum of the tensor of this name."""


def pack_sum(
    summed: Summed, base: BaseWeights, encode: EncodeSum, *, is_whole: bool
) -> PackedTensor:
    """Encode the sum of one tensor. Raises `InvalidArgument` if it is not finite."""
    data: Bytes = b""
    encoded: Encoded | None = None if summed.terms else Same()
    if is_whole and encoded is None:
        encoded, data = _alone(summed, base)
    if encoded is None:
        total = sum_of(summed, base)
        try:
            if summed.is_constant:
                encoded = kept_exactly(total.base, total.source)
            else:
                encoded = encode(
                    summed.info.name, total, lambda one: stored_size(one, _data(total))
                )
            data = _data(total) if isinstance(encoded, Raw) else b""
        except OutsideGrid:
            raise not_finite(summed.info) from None
    parts = list(bytes_parts(data))
    if isinstance(encoded, LowRank | Dense):
        parts += delta_parts(encoded)
    if summed.new_rows is not None:
        parts += bytes_parts(summed.new_rows.source.container.raw(summed.new_rows.index))
    release_base(summed, base)
    return PackedTensor(
        record_of(summed.info, encoded, summed.counterpart),
        tuple(parts),
        encoded.singular_values if isinstance(encoded, LowRank) else None,
    )


def _alone(summed: Summed, base: BaseWeights) -> tuple[Encoded | None, Bytes]:
    """The only term as it is stored, and its bytes if it is raw; None where a sum has to be made."""
    if len(summed.terms) > 1:
        return None, b""
    (term,) = summed.terms
    record, container = term.record, term.source.container
    if term.weight != 1 or record.dtype != summed.info.dtype:
        return None, b""
    if isinstance(record, RawRecord):
        reason = next(reason for reason in SUMMABLE_RAW if reason == record.reason)
        return Raw(reason), container.raw(term.index)
    delta = decoded_delta(container, term.index)
    assert delta is not None
    is_low_rank = isinstance(record, LowRankRecord)
    values = container.table(term.index).singular_values if is_low_rank else None
    first = summed.counterpart.base.tensors[0]
    before = tensor_over(
        viewed_bytes(summed.counterpart, base), first.dtype, summed.counterpart.shape
    )
    return encode_alone(delta, values, before), b""


def pack_taken(term: Term, first: MergeSource) -> PackedTensor:
    """The record and the parts of one version's tensor, as they are."""
    record, container = term.record, term.source.container
    values = None
    parts: list[PackedPart] = []
    match record:
        case CastRecord():
            other = container.header.tensors[record.of].name
            return PackedTensor(replace(record, of=first.places[other]), (), None)
        case LowRankRecord() | DenseRecord():
            delta = decoded_delta(container, term.index)
            if isinstance(record, LowRankRecord):
                assert isinstance(delta, Components)
                values = container.table(term.index).singular_values
                figures = low_rank_figures(record)
                parts += delta_parts(LowRank(components=delta, singular_values=values, **figures))
            else:
                assert isinstance(delta, Elements)
                dense = Dense(values=delta.values, exponent=delta.exponent, **delta_figures(record))
                parts += delta_parts(dense)
        case SameRecord() | RawRecord() | QuantisedRecord():
            pass
        case _:
            assert_never(record)
    parts += bytes_parts(container.raw(term.index))
    return PackedTensor(record, tuple(parts), values)


def _data(total: DeltaSum) -> memoryview:
    """The bytes of the exact sum, rounded once. Raises `OutsideGrid` if they are not finite."""
    return tensor_to_bytes(total.source)


def release_base(summed: Summed, base: BaseWeights) -> None:
    for tensor in summed.counterpart.base.tensors:
        base.release(tensor)


def not_finite(tensor: TensorInfo) -> InvalidArgument:
    return InvalidArgument(
        f"the merge of tensor {tensor.name!r} is not finite in {tensor.dtype}",
        "Give smaller weights, or put a version of a wider dtype first.",
    )
