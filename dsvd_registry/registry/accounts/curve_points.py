"""The curve of one fine-tune: bytes, error and ranks at each tau, and the spectra behind them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...checkpoint.layer_groups import GROUPS, layer_group
from ...container.records import LowRankRecord, TensorRecord
from ...container.totals import stored_parameters, total_error, uncapped_parameters
from .group_spectra import GroupSpectrum


@dataclass(frozen=True)
class TensorRank:
    """The ranks of a low-rank tensor: the stored one, and the tau rank, None if it is unknown."""

    name: str
    rank: int
    tau_rank: int | None


@dataclass(frozen=True)
class GroupRank:
    """The number of low-rank tensors in a layer group, and the mean of their stored ranks."""

    group: str
    low_rank: int
    rank: float


@dataclass(frozen=True)
class Point:
    """One tau: the version that `add` would make, or the part of a stored version that is read.

    `is_served`: False if a version does not store this tau; then the other fields are empty. `size`:
    approximate bytes of the container, or bytes read. `error`: relative Frobenius error of the whole
    delta. `parameters`: the number of stored parameters. `uncapped_parameters`: their number at the
    tau ranks, which count rounding noise of half precision too; None if the version does not store it.
    """

    tau: float
    is_served: bool
    size: int | None = None
    error: float | None = None
    parameters: int | None = None
    uncapped_parameters: int | None = None
    groups: tuple[GroupRank, ...] = ()
    tensors: tuple[TensorRank, ...] = ()


@dataclass(frozen=True)
class Curve:
    """Bytes, error and ranks at several taus.

    `source`: a file or a ref. `base`: the name of its base. `stored_tau`: the largest tau that the
    version serves; None for a file. `source_size`: bytes. `points`: ascending by tau. `groups`: the
    singular values from which tau selects ranks.
    """

    source: str
    base: str
    stored_tau: float | None
    source_size: int
    points: tuple[Point, ...]
    groups: tuple[GroupSpectrum, ...]


def point(
    tau: float, size: int, records: Sequence[TensorRecord], unknown: Iterable[str] = ()
) -> Point:
    """The point of these records; `unknown`: the names of tensors with an unknown tau rank."""
    low_rank = [record for record in records if isinstance(record, LowRankRecord)]
    unknown = set(unknown)
    ranks = defaultdict(list)
    for record in low_rank:
        ranks[layer_group(record.name)].append(record.rank)
    return Point(
        tau=tau,
        is_served=True,
        size=size,
        error=total_error(records),
        parameters=sum(map(stored_parameters, records)),
        uncapped_parameters=None if unknown else sum(map(uncapped_parameters, records)),
        groups=tuple(
            GroupRank(group, len(ranks[group]), sum(ranks[group]) / len(ranks[group]))
            for group in GROUPS
            if group in ranks
        ),
        tensors=tuple(
            TensorRank(
                record.name, record.rank, None if record.name in unknown else record.tau_rank
            )
            for record in low_rank
        ),
    )
