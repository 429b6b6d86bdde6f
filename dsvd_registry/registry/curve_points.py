"""What a row of taus gives of one fine-tune: bytes, error and ranks, and where they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..checkpoint.layer_groups import GROUPS, layer_group
from ..container.records import LowRankRecord, TensorRecord
from ..container.totals import stored_parameters, total_error, uncapped_parameters
from .group_spectra import GroupSpectrum


@dataclass(frozen=True)
class TensorRank:
    """A low-rank tensor: the components kept, and tau's rank, None where it is not known."""

    name: str
    rank: int
    tau_rank: int | None


@dataclass(frozen=True)
class GroupRank:
    """The low-rank tensors of a layer group: how many they are, and the mean of the ranks kept."""

    group: str
    low_rank: int
    rank: float


@dataclass(frozen=True)
class Point:
    """One tau. Of a fine-tune: what `add` would make of it; of a version: what is read of it.

    `is_served`: False where a version does not store this tau; then there is nothing else. `size`:
    bytes of the container, about, or of what is read of it. `error`: relative Frobenius error of
    the whole delta. `parameters`: the numbers kept; `uncapped_parameters`: what tau alone would
    keep, rounding noise of half precision too, None where a version does not tell.
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
    """`source`: a file, or a version, of which `stored_tau` is the largest tau stored.

    `base`: the name of its base. `points`: ascending by tau. `groups`: the singular values by which
    tau chooses ranks.
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
    """The point of these records; `unknown`: names of those whose tau's rank is not known."""
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
            TensorRank(one.name, one.rank, None if one.name in unknown else one.tau_rank)
            for one in low_rank
        ),
    )
