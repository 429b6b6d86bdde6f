"""Spectra of layer groups, on a scale on which layers of all sizes can be compared."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...checkpoint.layer_groups import GROUPS, layer_group
from ...container.table import rank_at

TINY = 1e-30  # replaces zero, which has no logarithm
PLACES = 160  # points of a spectrum, evenly spaced on a logarithmic scale


@dataclass(frozen=True)
class TensorSpectrum:
    """The largest singular values of a tensor's delta, float32, descending.

    `full_rank`: the number of all singular values; `nuclear_norm`: the sum of all.
    """

    name: str
    full_rank: int
    nuclear_norm: float
    singular_values: npt.NDArray[np.float32]


@dataclass(frozen=True)
class GroupSpectrum:
    """The median spectrum of the tensors of a layer group whose deltas have singular values.

    `tensors`: their number; `full_rank`: the mean of their full ranks. `values[i]`: the ratio
    s_c / s_1 of a singular value to the largest, at `places[i]` = c / full rank, ascending up to where
    half of the tensors store theirs. `tau_places`: the tau rank over the full rank for each requested
    tau; None if the version does not store it.
    """

    group: str
    tensors: int
    full_rank: float
    places: tuple[float, ...]
    values: tuple[float, ...]
    tau_places: tuple[float | None, ...]


def group_spectra(
    tensors: Iterable[TensorSpectrum], taus: Sequence[float]
) -> tuple[GroupSpectrum, ...]:
    """The spectrum of each layer group that has tensors, in the order of a forward pass."""
    by_group = defaultdict(list)
    for tensor in tensors:
        by_group[layer_group(tensor.name)].append(tensor)
    return tuple(_of_group(group, by_group[group], taus) for group in GROUPS if group in by_group)


def _of_group(
    group: str, tensors: Sequence[TensorSpectrum], taus: Sequence[float]
) -> GroupSpectrum:
    most = max(tensor.full_rank for tensor in tensors)
    reaches = [len(tensor.singular_values) / tensor.full_rank for tensor in tensors]
    reach = float(np.quantile(reaches, 0.5, method="lower"))
    places = np.geomspace(1 / most, reach, PLACES)
    # Values that are not stored count as zero; the upper of two middle values is always a stored one.
    values = np.quantile([_at(places, t) for t in tensors], 0.5, axis=0, method="higher")
    return GroupSpectrum(
        group=group,
        tensors=len(tensors),
        full_rank=sum(tensor.full_rank for tensor in tensors) / len(tensors),
        places=tuple(places.tolist()),
        values=tuple(values.tolist()),
        tau_places=tuple(_tau_place(tensors, tau, reach) for tau in taus),
    )


def _at(places: npt.NDArray[np.float64], tensor: TensorSpectrum) -> npt.NDArray[np.float64]:
    """The ratios s_c / s_1 at c = place * full rank: 1 before the first and 0 after the last component.

    Between two components the logarithms are interpolated linearly.
    """
    values = np.log(np.maximum(tensor.singular_values / tensor.singular_values[0], TINY))
    ranks = np.log(np.arange(1, len(values) + 1))
    # The last place is a rank except for rounding, which must not push it beyond the last value.
    found: npt.NDArray[np.float64]
    found = np.interp(np.log(places * tensor.full_rank) - 1e-9, ranks, values, right=-np.inf)
    return np.exp(found)


def _tau_place(tensors: Sequence[TensorSpectrum], tau: float, reach: float) -> float | None:
    middle = float(np.quantile(list(_tau_places(tensors, tau)), 0.5, method="lower"))
    return middle if middle <= reach else None


def _tau_places(tensors: Sequence[TensorSpectrum], tau: float) -> Iterator[float]:
    for tensor in tensors:
        stored = len(tensor.singular_values)
        rank = rank_at(tensor.singular_values, tau, tensor.nuclear_norm)
        if stored == tensor.full_rank:
            rank = min(rank, stored)  # the last sum may round to just under the norm
        yield rank / tensor.full_rank if rank <= stored else math.inf
