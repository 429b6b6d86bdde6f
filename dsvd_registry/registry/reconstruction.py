"""A container and its base back into tensors, and tensors into the bytes of the result.

The exact rule: spec/dsvd-container-v1.md, section "Reconstruction".
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator
from dataclasses import dataclass

import torch

from .. import canonical
from ..checkpoint.dtypes import DELTA_DTYPES, tensor_bytes
from ..checkpoint.layout import SafetensorsLayout, canonical_layout, derived_layout, kept_layout
from ..checkpoint.model import TensorInfo
from ..checkpoint.safetensors_file import parse_header
from ..codec.exact import CPU, Components, DeltaProduct, apply_delta, apply_dense, ieee_arithmetic
from ..codec.tensors import TORCH_DTYPES, round_to, tensor_from_bytes, tensor_to_bytes
from ..container.header import content_digest
from ..container.reader import Container
from ..container.records import (
    BasedRecord,
    DenseRecord,
    Header,
    LowRankRecord,
    RawRecord,
    SameRecord,
)
from ..container.serving import check_served, served_rank
from ..errors import CheckpointError, ContainerError
from ..fs import Bytes
from .base_weights import BaseWeights
from .in_order import in_order
from .progress import Meter, Progress, silent


@dataclass(frozen=True)
class ResultDigest:
    """SHA-256 and size in bytes of a result file."""

    sha256: str
    size: int


class Reconstruction:
    """The result of `container` over `base` at `tau` (at most the stored one).

    Raises `TauNotServed` for a tau that the container does not store, `BaseMismatch` for a base
    that lacks a tensor that is needed.
    """

    def __init__(self, container: Container, base: BaseWeights, tau: float) -> None:
        header = container.header
        check_served(container, tau)
        base.check_suits(
            (b for t in header.tensors if isinstance(t, BasedRecord) for b in t.base),
            header.base_digest,
        )
        source_header = container.source_header()
        try:
            layout = result_layout(header, source_header, header.encoding.tau)
        except ContainerError as error:
            raise ContainerError(f"{container.path}: {error}") from error
        if layout.size != header.results[0].size:
            raise ContainerError(
                f"{container.path}: the result has {layout.size} bytes, where {header.results[0].size} "
                "are recorded"
            )
        if tau != header.encoding.tau:
            layout = result_layout(header, source_header, tau)
        self._layout = layout
        self.tau = tau
        self._container, self._base = container, base
        self._index = {tensor.name: i for i, tensor in enumerate(header.tensors)}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the result's tensors, sorted."""
        return tuple(self._index)

    def layout(self) -> SafetensorsLayout:
        """Everything of the result file but its data (spec, section "Result files")."""
        return self._layout

    def chunks(self) -> Generator[Bytes, None, None]:
        """The result file from first byte to last, a tensor at a time; close it if you stop early."""
        layout = self.layout()
        tensors = self._container.header.tensors
        yield layout.prefix
        with in_order(
            self.tensor_bytes, layout.order, lambda name: tensors[self._index[name]].elements
        ) as made:
            yield from made

    def digest(self, progress: Progress = silent, stage: str = "checking") -> ResultDigest:
        """Digest of the result file, made without writing it."""
        digest = hashlib.sha256()
        meter = Meter(progress, stage, self.layout().size)
        with contextlib.closing(self.chunks()) as chunks:
            for chunk in chunks:
                digest.update(chunk)
                meter.advance(len(chunk))
        return ResultDigest(digest.hexdigest(), self.layout().size)

    def tensor_bytes(self, name: str) -> Bytes:
        """A tensor's little-endian C-order bytes. Raises `KeyError` for an unknown name."""
        index = self._index[name]
        record = self._container.header.tensors[index]
        if isinstance(record, RawRecord):
            return self._container.raw(index)
        assert isinstance(record, BasedRecord)
        if isinstance(record, SameRecord) and _is_verbatim(record):
            data = self._base.read(record.base[0])
            return b"".join((data, self._container.raw(index))) if record.new_rows else data
        return b"".join((tensor_to_bytes(self.common_rows(index)), self._container.raw(index)))

    def tensor(self, name: str) -> torch.Tensor:
        """A tensor in memory of its own. Raises `ContainerError` for a dtype that torch lacks."""
        record = self._container.header.tensors[self._index[name]]
        if record.dtype not in TORCH_DTYPES:
            raise ContainerError(f"tensor {name!r} is of {record.dtype}, which torch lacks")
        return tensor_from_bytes(self.tensor_bytes(name), record.dtype, record.shape)

    def common_rows(self, index: int) -> torch.Tensor:
        """Tensor number `index` without its new rows; raw ones have none."""
        with ieee_arithmetic(CPU):
            return self._common_rows(index)

    def _common_rows(self, index: int) -> torch.Tensor:
        record = self._container.header.tensors[index]
        assert isinstance(record, BasedRecord)
        base = self.viewed_base(record)
        if record.dtype not in DELTA_DTYPES:
            return base
        dtype = TORCH_DTYPES[record.dtype]
        match record:
            case LowRankRecord():
                rank = served_rank(
                    record, self._container.table(index), self._encoded_tau, self.tau
                )
                a, b = self._container.components(index, rank)
                exponents = self._container.table(index).exponents[:rank]
                result = torch.empty(record.matrix_shape, dtype=dtype, device=CPU)
                product = DeltaProduct(Components(a, b, exponents))
                apply_delta(base.reshape(record.matrix_shape), product, dtype, result)
            case DenseRecord():
                values = self._container.elements(index)
                result = apply_dense(base, values, record.exponent, dtype)
            case _:
                result = round_to(base, dtype)
                if base.dtype != dtype and torch.isnan(result).any():
                    raise ContainerError(f"{record.name!r}: a NaN of the base would be cast")
                return result
        if not torch.isfinite(result).all():
            raise ContainerError(
                f"{self._container.path}: tensor {record.name!r} would hold NaN or infinity"
            )
        return result

    @property
    def _encoded_tau(self) -> float:
        return self._container.header.encoding.tau

    def viewed_base(self, record: BasedRecord) -> torch.Tensor:
        """The base's part as a tensor of the common rows' shape.

        Of dtypes that take no delta, a tensor of bytes with the element's bytes as last dimension.
        """
        arrays = []
        for base in record.base:
            data = self._base.read(base)
            if base.dtype in DELTA_DTYPES:
                arrays.append(tensor_from_bytes(data, base.dtype, base.shape))
            else:
                width = tensor_bytes(base.dtype, (1,))
                arrays.append(tensor_from_bytes(data, "U8", (*base.shape, width)))
            self._base.release(base)
        array, view = arrays[0], record.view
        match view.kind:
            case "transpose":
                array = array.transpose(0, 1)
            case "slice":
                array = array[view.first : view.first + view.rows]
            case "concatenate":
                array = torch.cat(arrays)
            case "reshape":
                pass
        bytes_of_element = array.shape[len(record.base[0].shape) :]
        return array.reshape(record.common_shape + tuple(bytes_of_element))


def result_layout(header: Header, source_header: bytes | None, tau: float) -> SafetensorsLayout:
    """The header of the result file and the order of its data (spec, section "Result files").

    Raises `ContainerError` if `source_header` is not one for the header's tensors.
    """
    if source_header is not None:
        _check_source_header(source_header, header)
        if not header.is_lossy:
            return kept_layout(source_header)
    metadata = {
        "dsvd.base": header.base_digest,
        "dsvd.container": content_digest(header),
        "dsvd.tau": canonical.encode(tau).decode(),
    }
    if source_header is not None:
        return derived_layout(source_header, metadata)
    tensors = (TensorInfo(t.name, t.dtype, t.shape) for t in header.tensors)
    return canonical_layout(tensors, {"format": "pt", **metadata})


def _check_source_header(source_header: bytes, header: Header) -> None:
    try:
        _, entries = parse_header(source_header)
    except CheckpointError as error:
        raise ContainerError(f"the source's header is not a safetensors header: {error}") from error
    infos = {name: (entry.info.dtype, entry.info.shape) for name, entry in entries.items()}
    if infos != {tensor.name: (tensor.dtype, tensor.shape) for tensor in header.tensors}:
        raise ContainerError("the source's header is not of the container's tensors")


def _is_verbatim(record: SameRecord) -> bool:
    return record.view.kind == "reshape" and record.base[0].dtype == record.dtype
