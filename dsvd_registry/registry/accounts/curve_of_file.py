"""The curve of a checkpoint: each tensor is decomposed once, and encoded at every tau for its size."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ...catalog import BaseRecord
from ...checkpoint import TensorInfo, open_checkpoint
from ...codec.encode_each_tau import encode_each
from ...codec.encode_tau import EncodeRequest, SizeOf
from ...codec.encoded import Encoded
from ...codec.tensor_order import in_order
from ...codec.torch_tensors import check_device
from ...container.records import Encoding, TensorRecord, record_numbers
from ...container.writer import PayloadWriter, container_size
from ...encoding.container_builder import NOT_YET, add_parts, check_storable, closed, data_order
from ...encoding.encode_tensor import PackedTensor, pack_each
from ...encoding.fine_tune import FineTune
from ...encoding.request import DEFAULT_GRID_NOISE
from ...encoding.store_fine_tune import large_headers_named
from ...errors import InvalidArgument
from ...fs import Bytes
from ...hashing import Source
from ...lora import is_lora
from ...progress import Meter, Progress
from ..adding.fingerprint import unchanging
from ..repository import Repository
from .curve_points import Curve, Point, point
from .group_spectra import TensorSpectrum, group_spectra


def curve_of_file(
    path: Path,
    base: BaseRecord,
    taus: Sequence[float],
    keep_noise: bool,
    device: str,
    repository: Repository,
    progress: Progress,
) -> Curve:
    """The curve of the versions that `add` would make of `path` at `taus`, ascending. Writes nothing.

    Raises `CheckpointError`, `BaseMismatch`, `InvalidArgument`, `StorageError`.
    """
    check_device(device)
    settings = [EncodeRequest(tau, DEFAULT_GRID_NOISE, keep_noise, device) for tau in taus]
    with (
        unchanging(path),
        open_checkpoint(path) as checkpoint,
        repository.open_base(base) as weights,
    ):
        if is_lora(checkpoint.tensors):
            raise InvalidArgument(
                f"{path} is a LoRA file, which has a curve only as a version",
                "Add it first; `dsvd curve REF` then shows what lower taus read of it.",
            )
        # The digest only takes its place in the header, which has the same size with any digest.
        source = Source(checkpoint.format, NOT_YET, path.stat().st_size)
        fine_tune = FineTune.of(checkpoint, source, weights).without_quantised()
        check_storable(checkpoint)
        with large_headers_named(checkpoint):
            points, spectra = _points(fine_tune, settings, progress)
    return Curve(
        source=str(path),
        base=base.name,
        stored_tau=None,
        source_size=source.size,
        points=points,
        groups=group_spectra(spectra, taus),
    )


@dataclass(frozen=True)
class _Encoded:
    """One tensor, packed at each tau, and the singular values of its delta."""

    info: TensorInfo
    packed: tuple[PackedTensor, ...]
    singular_values: npt.NDArray[np.float64]


def _points(
    fine_tune: FineTune, settings: Sequence[EncodeRequest], progress: Progress
) -> tuple[tuple[Point, ...], list[TensorSpectrum]]:
    numbers = record_numbers(fine_tune.checkpoint.tensors)
    payloads = [PayloadWriter(_Nowhere()) for _ in settings]
    records: list[dict[str, TensorRecord]] = [{} for _ in settings]
    spectra = []
    for encoded in _encoded(fine_tune, settings, progress):
        name = encoded.info.name
        for payload, by_name, packed in zip(payloads, records, encoded.packed, strict=True):
            add_parts(payload, numbers[name], packed)
            by_name[name] = packed.record
        if encoded.singular_values.size:
            spectra.append(_spectrum(name, encoded.singular_values))
    points = []
    for request, payload, by_name in zip(settings, payloads, records, strict=True):
        tensors = [by_name[name] for name in numbers]
        header = closed(payload, fine_tune, Encoding(request.tau, request.grid_noise), tensors)
        points.append(point(request.tau, container_size(header), tensors))
    return tuple(points), spectra


def _encoded(
    fine_tune: FineTune, settings: Sequence[EncodeRequest], progress: Progress
) -> Iterator[_Encoded]:
    checkpoint = fine_tune.checkpoint

    def work(info: TensorInfo) -> _Encoded:
        values = np.empty(0)

        def encode(base: torch.Tensor, source: torch.Tensor, size_of: SizeOf) -> Sequence[Encoded]:
            nonlocal values
            encoded = encode_each(base, source, settings, size_of)
            values = encoded.singular_values
            return encoded.records

        packed = pack_each(fine_tune, info, encode)
        if len(packed) < len(settings):  # one record for all taus
            packed *= len(settings)
        return _Encoded(info, packed, values)

    meter = Meter(progress, "encoding", sum(t.nbytes for t in checkpoint.tensors.values()))
    infos = (checkpoint.tensors[name] for name in data_order(checkpoint))
    with in_order(work, infos, lambda info: info.elements) as tensors:
        for encoded in tensors:
            yield encoded
            meter.advance(encoded.info.nbytes)


def _spectrum(name: str, values: npt.NDArray[np.float64]) -> TensorSpectrum:
    return TensorSpectrum(name, len(values), float(values.sum()), values.astype(np.float32))


class _Nowhere(io.BytesIO):
    """A scratch file that drops its content: only the sizes matter."""

    def write(self, data: Bytes, /) -> int:  # type: ignore[override]
        return len(data)
