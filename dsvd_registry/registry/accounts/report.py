"""The report of a container: figures that account for every tensor of its source, from the header."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...catalog import BaseRecord, VersionRecord
from ...checkpoint.layer_groups import GROUPS, layer_group
from ...container.reader import Container
from ...container.records import (
    RAW_REASONS,
    BasedRecord,
    DeltaRecord,
    Header,
    LowRankRecord,
    Omission,
    QuantisedRecord,
    RawRecord,
    TensorRecord,
)
from ...container.totals import (
    ACCOUNT_KINDS,
    is_capped,
    kind_of,
    stored_parameters,
    total_change,
    total_error,
    uncapped_parameters,
)
from ..adding.input_warnings import input_warnings
from ..repository import Repository


@dataclass(frozen=True)
class KindRow:
    """All tensors of one record kind, or all constants that are stored raw.

    `stored_bytes`: their compressed share of the payload. `stored_parameters`: the count of stored
    numbers, r (m + n) for a low-rank tensor of rank r and shape m x n, 0 for an unchanged one.
    """

    kind: str
    tensors: int
    parameters: int
    stored_parameters: int
    source_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class GroupRow:
    """All tensors of one layer group. Ranks and energy are means over its low-rank tensors, or 0.

    `error`: the Frobenius norm of (result - source) over that of the delta, for the changed tensors;
    `change`: the norm of their delta over that of their base's weights.
    """

    group: str
    tensors: int
    low_rank: int
    parameters: int
    full_rank: float
    rank: float
    energy: float
    error: float
    change: float
    stored_bytes: int


@dataclass(frozen=True)
class TensorRow:
    """One tensor: its record in brief. Fields that its record kind lacks are None."""

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    stored_bytes: int
    rank: int | None
    tau_rank: int | None
    noise_rank: int | None
    full_rank: int | None
    energy: float | None
    error: float | None
    change: float | None
    reason: str | None


@dataclass(frozen=True)
class Report:
    """The account of one container; every tensor of the source is in exactly one row of `kinds`.

    `max_error`, `budget`: what was asked for; None for both where it was tau.
    `not_taken`: names of tensors that the base has and the fine-tune lacks. `capped`: names of
    tensors whose rank is the noise rank, below the tau rank. `uncapped_parameters`: the number of
    stored parameters at the tau ranks; `stored_parameters`: their number at the stored ranks.
    `schemes`: the number of quantised tensors that are predicted from the base, by their scheme.
    """

    kinds: tuple[KindRow, ...]
    groups: tuple[GroupRow, ...]
    tensors: tuple[TensorRow, ...]
    not_taken: tuple[str, ...]
    left_out: tuple[Omission, ...]
    total: int
    parameters: int
    stored_parameters: int
    uncapped_parameters: int
    capped: tuple[str, ...]
    schemes: Mapping[str, int]
    source_format: str
    source_bytes: int
    stored_bytes: int
    tau: float
    grid_noise: float
    max_error: float | None
    budget: int | None
    error: float
    change: float
    warnings: tuple[str, ...]

    def also_left_out(self, entries: Iterable[Omission]) -> Report:
        """The report with these entries too, where the container's own account lacks them.

        A folder with further files shares the container of one without them.
        """
        known = {entry.name for entry in self.left_out}
        further = tuple(entry for entry in entries if entry.name not in known)
        return replace(self, left_out=(*self.left_out, *further))


class _Account(NamedTuple):
    """A record, the compressed bytes that it takes, and its energy if it is low-rank."""

    tensor: TensorRecord
    share: int
    energy: float | None


def report(container: Container, base_names: Iterable[str]) -> Report:
    """The report of an open container; `base_names`: the names of all tensors of its base."""
    header = container.header
    shares = stored_shares(header, container)
    energies = [
        container.energy(i) if isinstance(tensor, LowRankRecord) else None
        for i, tensor in enumerate(header.tensors)
    ]
    rows = list(map(_Account, header.tensors, shares, energies))
    by_kind: dict[str, list[_Account]] = defaultdict(list)
    by_group: dict[str, list[_Account]] = defaultdict(list)
    for row in rows:
        by_kind[kind_of(row.tensor)].append(row)
        by_group[layer_group(row.tensor.name)].append(row)
    taken = {base.name for t in header.tensors if isinstance(t, BasedRecord) for base in t.base}
    return Report(
        kinds=tuple(_kind_row(kind, by_kind[kind]) for kind in ACCOUNT_KINDS),
        groups=tuple(_group_row(group, by_group[group]) for group in GROUPS if group in by_group),
        tensors=tuple(map(_tensor_row, rows)),
        not_taken=tuple(sorted(set(base_names) - taken - {t.name for t in header.tensors})),
        left_out=header.left_out,
        total=len(rows),
        parameters=sum(tensor.elements for tensor in header.tensors),
        stored_parameters=sum(map(stored_parameters, header.tensors)),
        uncapped_parameters=sum(map(uncapped_parameters, header.tensors)),
        capped=tuple(tensor.name for tensor in header.tensors if is_capped(tensor)),
        schemes=dict(sorted(_schemes(header).items())),
        source_format=header.source.format,
        source_bytes=header.source.size,
        stored_bytes=container.size,
        tau=header.encoding.tau,
        grid_noise=header.encoding.grid_noise,
        max_error=header.encoding.max_error,
        budget=header.encoding.budget,
        error=total_error(header.tensors),
        change=total_change(header.tensors),
        warnings=tuple(input_warnings(header)),
    )


def _schemes(header: Header) -> Mapping[str, int]:
    quantised = (t.quantisation for t in header.tensors if isinstance(t, QuantisedRecord))
    return Counter(one.scheme(header.tensors) for one in quantised)


def report_of_version(version: VersionRecord, base: BaseRecord, repository: Repository) -> Report:
    """The report of a version over its base. Raises `ContainerError`, `RegistryError`."""
    manifest = repository.manifest(base)
    with repository.open_container(version) as container:
        return report(container, (tensor.name for tensor in manifest.tensors))


def stored_shares(header: Header, container: Container) -> list[int]:
    """The compressed bytes of each tensor: those of a frame are divided by the sizes of its parts."""
    shares = [0.0] * len(header.tensors)
    for frame, part, size in container.part_sizes():
        shares[part.tensor] += frame.stored * size / frame.raw
    return [round(share) for share in shares]


def _kind_row(kind: str, rows: list[_Account]) -> KindRow:
    return KindRow(
        kind=kind,
        tensors=len(rows),
        parameters=sum(tensor.elements for tensor, *_ in rows),
        stored_parameters=sum(stored_parameters(tensor) for tensor, *_ in rows),
        source_bytes=sum(tensor.nbytes for tensor, *_ in rows),
        stored_bytes=sum(row.share for row in rows),
    )


def _group_row(group: str, rows: list[_Account]) -> GroupRow:
    tensors = [row.tensor for row in rows]
    low_rank = [tensor for tensor in tensors if isinstance(tensor, LowRankRecord)]
    count = max(1, len(low_rank))
    return GroupRow(
        group=group,
        tensors=len(tensors),
        low_rank=len(low_rank),
        parameters=sum(tensor.elements for tensor in tensors),
        full_rank=sum(tensor.full_rank for tensor in low_rank) / count,
        rank=sum(tensor.rank for tensor in low_rank) / count,
        energy=sum(row.energy or 0.0 for row in rows) / count,
        error=total_error(tensors),
        change=total_change(tensors),
        stored_bytes=sum(row.share for row in rows),
    )


def _tensor_row(row: _Account) -> TensorRow:
    tensor = row.tensor
    low_rank = tensor if isinstance(tensor, LowRankRecord) else None
    delta = tensor if isinstance(tensor, DeltaRecord) else None
    return TensorRow(
        name=tensor.name,
        kind=kind_of(tensor),
        dtype=tensor.dtype,
        shape=tensor.shape,
        stored_bytes=row.share,
        rank=low_rank.rank if low_rank else None,
        tau_rank=low_rank.tau_rank if low_rank else None,
        noise_rank=low_rank.noise_rank if low_rank else None,
        full_rank=low_rank.full_rank if low_rank else None,
        energy=row.energy,
        error=delta.error if delta else None,
        change=total_change([delta]) if delta else None,
        reason=RAW_REASONS[tensor.reason] if isinstance(tensor, RawRecord) else None,
    )
