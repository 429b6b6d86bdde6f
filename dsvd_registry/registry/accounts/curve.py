"""The curve of a checkpoint or of a version: bytes, error and ranks at several taus."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...catalog import VersionRecord
from ...container.delta_decoder import check_served, served_rank
from ...container.reader import Container
from ...container.records import LowRankRecord, TensorRecord
from ...encoding.request import DEFAULT_TAUS
from ...errors import InvalidArgument, TauNotServed
from ...progress import Progress
from ...tau import checked_taus
from ..adding.input_files import file_or_version
from ..repository import Repository
from .curve_points import Curve, Point, point
from .group_spectra import TensorSpectrum, group_spectra


def curve(
    source: str | Path,
    base: str | None,
    taus: Sequence[float] | None,
    keep_noise: bool,
    device: str,
    repository: Repository,
    progress: Progress,
) -> Curve:
    """The curve of the checkpoint or version that `source` names; see `Registry.curve`."""
    chosen = None if taus is None else checked_taus(taus)
    file = file_or_version(source, base, repository)
    if isinstance(file, VersionRecord):
        if keep_noise:
            raise InvalidArgument(
                f"the noise of {file.ref} was kept or left out when it was added",
                "Leave keep_noise out, or give the file.",
            )
        return _of_version(file, chosen, repository)
    from .curve_of_file import curve_of_file  # imports torch, which the curve of a version spares

    record = repository.catalog.base(base or "")
    return curve_of_file(
        file, record, chosen or DEFAULT_TAUS, keep_noise, device, repository, progress
    )


def _of_version(
    version: VersionRecord, taus: Sequence[float] | None, repository: Repository
) -> Curve:
    with repository.open_container(version) as container:
        stored = container.header.encoding.tau
        lower = (*(tau for tau in DEFAULT_TAUS if tau < stored), stored)
        name = version.base_name or version.base
        return curve_of_version(version.ref, name, container, taus or lower)


def curve_of_version(
    ref: str, base_name: str, container: Container, taus: Sequence[float]
) -> Curve:
    """The curve of the results at `taus`, ascending; the errors are estimates.

    Raises `ContainerError`, `StorageError`.
    """
    header = container.header
    return Curve(
        source=ref,
        base=base_name,
        stored_tau=header.encoding.tau,
        source_size=header.source.size,
        points=tuple(_point(container, tau) for tau in taus),
        groups=group_spectra(_spectra(container), taus),
    )


def _point(container: Container, tau: float) -> Point:
    try:
        check_served(container, tau)
    except TauNotServed:
        return Point(tau, is_served=False)
    stored = container.header.encoding.tau
    records: list[TensorRecord] = list(container.header.tensors)
    unknown = []
    for index, record in enumerate(container.header.tensors):
        if not isinstance(record, LowRankRecord):
            continue
        table = container.table(index)
        wanted = record.tau_rank
        if tau < stored:
            wanted = min(wanted, table.rank_at(tau, record.nuclear_norm))
            if (
                wanted > record.rank
            ):  # capped: the singular values up to the tau rank are not stored
                unknown.append(record.name)
        rank = served_rank(record, table, stored, tau)
        values = table.singular_values.astype(np.float64)
        error = _estimated_error(record, values, rank)
        records[index] = replace(record, rank=rank, tau_rank=wanted, error=error)
    return point(tau, _bytes_read(container, records), records, unknown)


def _estimated_error(record: LowRankRecord, values: npt.NDArray[np.float64], rank: int) -> float:
    """The relative error at a lower rank: that of the stored rank, and the components left out.

    The two are orthogonal except for grid noise, so their squares are added.
    """
    left_out = float(np.linalg.norm(values[rank:]))
    return math.hypot(record.error * record.norm, left_out) / record.norm


def _bytes_read(container: Container, records: Sequence[TensorRecord]) -> int:
    """The container's bytes without the frames that have only components above these ranks."""
    spare = {f.offset: f.stored for f in container.header.frames if f.content == "components"}
    first: Counter[int] = Counter()
    for frame, part, _ in container.part_sizes():
        if frame.content == "components":
            record = records[part.tensor]
            assert isinstance(record, LowRankRecord)
            if first[part.tensor] < record.rank:
                spare.pop(frame.offset, None)
            first[part.tensor] += part.count
    return container.size - sum(spare.values())


def _spectra(container: Container) -> list[TensorSpectrum]:
    return [
        TensorSpectrum(
            record.name,
            record.full_rank,
            record.nuclear_norm,
            container.table(index).singular_values,
        )
        for index, record in enumerate(container.header.tensors)
        if isinstance(record, LowRankRecord)
    ]
