"""The curve of a checkpoint: each tensor decomposed once, and encoded at every tau for its size."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from ..catalog import BaseRecord
from ..checkpoint import TensorInfo, open_checkpoint
from ..codec.devices import check_device
from ..codec.encode_each_tau import encode_each
from ..codec.encode_tau import EncodeRequest, SizeOf
from ..codec.encoded import Encoded
from ..codec.tensor_order import in_order
from ..container.records import Encoding, TensorRecord
from ..container.writer import PayloadWriter, container_size
from ..encoding.container_builder import (
    NOT_YET,
    add_parts,
    check_storable,
    closed,
    data_order,
)
from ..encoding.encode_tensor import PackedTensor, pack_each
from ..encoding.fine_tune import FineTune
from ..encoding.header_weight import check_header_fits, heavy_headers_named
from ..encoding.request import DEFAULT_GRID_NOISE
from ..errors import InvalidArgument
from ..fs import Bytes
from ..hashing import Source
from ..lora import is_lora
from ..progress import Meter, Progress
from .curve_points import Curve, Point, point
from .fingerprint import unchanging
from .group_spectra import TensorSpectrum, group_spectra
from .repository import Repository


def curve_of_file(
    path: Path,
    base: BaseRecord,
    taus: Sequence[float],
    keep_noise: bool,
    device: str,
    repository: Repository,
    progress: Progress,
) -> Curve:
    """What `add` would make of `path` at each of `taus`, ascending. Writes nothing.

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
                f"{path} is a LoRA file, whose curve is that of the version it becomes",
                "Add it, whole as it is by default; `dsvd curve REF` tells what each lower tau reads.",
            )
        # The digest of the file would be read for nothing: none is as large.
        source = Source(checkpoint.format, NOT_YET, path.stat().st_size)
        fine_tune = FineTune.of(checkpoint, source, weights)
        check_storable(checkpoint)
        check_header_fits(fine_tune)
        with heavy_headers_named(checkpoint):
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
    """One tensor: packed at each tau, and the singular values of its delta."""

    info: TensorInfo
    packed: tuple[PackedTensor, ...]
    singular_values: npt.NDArray[np.float64]


def _points(
    fine_tune: FineTune, settings: Sequence[EncodeRequest], progress: Progress
) -> tuple[tuple[Point, ...], list[TensorSpectrum]]:
    names = sorted(fine_tune.checkpoint.tensors, key=str.encode)
    numbers = {name: number for number, name in enumerate(names)}
    payloads = [PayloadWriter(_Nowhere()) for _ in settings]
    records: list[dict[str, TensorRecord]] = [{} for _ in settings]
    spectra = []
    for made in _encoded(fine_tune, settings, progress):
        name = made.info.name
        for payload, found, packed in zip(payloads, records, made.packed, strict=True):
            add_parts(payload, numbers[name], packed)
            found[name] = packed.record
        if made.singular_values.size:
            spectra.append(_spectrum(name, made.singular_values))
    points = []
    for one, payload, found in zip(settings, payloads, records, strict=True):
        tensors = [found[name] for name in names]
        header = closed(payload, fine_tune, Encoding(one.tau, one.grid_noise), tensors)
        points.append(point(one.tau, container_size(header), tensors))
    return tuple(points), spectra


def _encoded(
    fine_tune: FineTune, settings: Sequence[EncodeRequest], progress: Progress
) -> Iterator[_Encoded]:
    checkpoint = fine_tune.checkpoint

    def work(info: TensorInfo) -> _Encoded:
        values = np.empty(0)

        def encode(base: torch.Tensor, source: torch.Tensor, size_of: SizeOf) -> Sequence[Encoded]:
            nonlocal values
            found = encode_each(base, source, settings, size_of)
            values = found.singular_values
            return found.records

        packed = pack_each(fine_tune, info, encode)
        if len(packed) < len(settings):  # the same at every tau
            packed *= len(settings)
        return _Encoded(info, packed, values)

    meter = Meter(progress, "encoding", sum(t.nbytes for t in checkpoint.tensors.values()))
    infos = (checkpoint.tensors[name] for name in data_order(checkpoint))
    with in_order(work, infos, lambda info: info.elements) as made:
        for one in made:
            yield one
            meter.advance(one.info.nbytes)


def _spectrum(name: str, values: npt.NDArray[np.float64]) -> TensorSpectrum:
    return TensorSpectrum(name, len(values), float(values.sum()), values.astype(np.float32))


class _Nowhere(io.BytesIO):
    """A scratch file of which only the sizes matter."""

    def write(self, data: Bytes, /) -> int:  # type: ignore[override]
        return len(data)
