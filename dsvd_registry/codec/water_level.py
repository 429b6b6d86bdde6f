"""The plan of water-filling: record kinds, ranks and bits of all tensors at one water level.

At a water level D, one bit is worth 2 ln 2 D of squared error, in every tensor alike. Each tensor
gets the record kind, the rank and the quantisation steps that cost least at that price. A lower
level takes more bits and leaves less error. All figures here are those of the model; the encoder
measures the real error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch

from .integer_grid import BITS_PER_NAT, best_exponents, component_costs
from .rate_distortion import entropy, rounded_square, squared_error

Kind = Literal["low_rank", "dense", "raw"]
KINDS: tuple[Kind, ...] = ("low_rank", "dense", "raw")
TABLE_BITS = 8 * 9.0  # of a component's entry in the component table, compressed
RAW_SHARE = 0.92  # of a raw tensor's bits that remain after compression
COARSEST, FINEST = 2.0**30, 1e-16  # water levels, in mean squares of the elements of all deltas
STEP = 2.0 ** (1 / 16)  # from a level to the next, which changes the error by a fiftieth
STRIDE = 32  # levels between those at which a plan is looked for first
LEVELS = math.ceil(math.log(COARSEST / FINEST, STEP))
LEAST_RATIO = 0.25  # of a dense delta's standard deviation to its step, lest all become zero


@dataclass(frozen=True)
class Survey:
    """The measurements of a changed tensor, with an (m, n) delta, that the plan needs.

    `singular_values`: float64, falling; empty for a vector. `norm`: Frobenius norm of the delta.
    `spacing`: root mean square of the spacing of the result's dtype at the source's elements, 0 for
    float32. `raw_bits`: the bits of the tensor itself.
    """

    shape: tuple[int, int]
    singular_values: torch.Tensor
    norm: float
    spacing: float
    raw_bits: float


@dataclass(frozen=True)
class Target:
    """The target of one tensor: its record kind, its water level and its allowed error.

    `allowed`: Frobenius distance of the stored delta from the true one, before the result is
    rounded. `bits`: the size that the model expects.
    """

    kind: Kind
    distortion: float
    allowed: float
    bits: float


@dataclass(frozen=True)
class _Costs:
    """The record kind, squared errors and bits of every tensor at one level, each (tensors,).

    `kinds`: indices into `KINDS`, int64. `errors`: squared errors of the results, rounded to their
    dtypes. `deltas`: squared errors of the deltas, before rounding. All but `kinds` are float64.
    """

    kinds: torch.Tensor
    errors: torch.Tensor
    deltas: torch.Tensor
    bits: torch.Tensor


class Plan:
    """A series of plans for the tensors of `surveys`, from the coarsest, 0, to the finest, `last`.

    From one plan to the next, a single tensor goes down by one level; after the last tensor, the
    first one goes down again. A step therefore never changes more than one tensor, even where many
    change their record kind at one level.
    """

    def __init__(self, surveys: Sequence[Survey]) -> None:
        self._levels: dict[int, _Costs] = {}
        longest = max([1, *(len(survey.singular_values) for survey in surveys)])
        self._values = torch.zeros(len(surveys), longest, dtype=torch.float64, device="cpu")
        for row, survey in zip(self._values, surveys, strict=True):
            row[: len(survey.singular_values)] = survey.singular_values
        self._rows, self._columns = (_reals(survey.shape[i] for survey in surveys) for i in (0, 1))
        self._norms = _reals(survey.norm for survey in surveys)
        self._spacings = _reals(survey.spacing for survey in surveys)
        self._raw_bits = _reals(survey.raw_bits for survey in surveys)
        # The squared error if all components from each one on are dropped.
        self._left_out = torch.square(self._values).flip(1).cumsum(1).flip(1)
        self._left_out = torch.nn.functional.pad(self._left_out, (0, 1))

    @property
    def norm(self) -> float:
        """Frobenius norm of all deltas together."""
        return float(torch.linalg.vector_norm(self._norms))

    @property
    def last(self) -> int:
        """The index of the finest plan; 0 if no tensor has changed."""
        return LEVELS * len(self._norms)

    def targets(self, place: int) -> list[Target]:
        """The target of each tensor in plan number `place`, in the order of the surveys."""
        if not len(self._norms):
            return []
        level, lower = divmod(place, len(self._norms))
        costs = self._at(place)
        levels = [self._distortion(level + (number < lower)) for number in range(len(self._norms))]
        columns = (costs.kinds.tolist(), costs.deltas.tolist(), costs.bits.tolist())
        return [
            Target(KINDS[kind], distortion, math.sqrt(square), bits)
            for distortion, kind, square, bits in zip(levels, *columns, strict=True)
        ]

    def bits(self, place: int) -> float:
        """The expected bits of all tensors in plan number `place`."""
        return float(self._at(place).bits.sum()) if len(self._norms) else 0.0

    def within_error(self, error: float) -> list[Target]:
        """The targets of the coarsest plan whose results together have at most this Frobenius error."""
        if not len(self._norms):
            return []
        low, high = self._around_error(error)
        while high - low > 1:
            middle = (low + high) // 2
            if float(self._at(middle).errors.sum()) <= error**2:
                high = middle
            else:
                low = middle
        return self.targets(high)

    def _around_error(self, error: float) -> tuple[int, int]:
        """A plan with a larger error than this one, or -1, and one without.

        They are looked for from coarse levels on, where few components cost little time.
        """
        number, low = len(self._norms), -1
        for level in range(0, LEVELS, STRIDE):
            if float(self._costs_at(level).errors.sum()) <= error**2:
                return low, level * number
            low = level * number
        return low, self.last

    def _distortion(self, level: int) -> float:
        scale = self.norm**2 / float((self._rows * self._columns).sum())
        return COARSEST * scale / STEP**level

    def _at(self, place: int) -> _Costs:
        """The costs in plan number `place`, whose first tensors are already at the next level."""
        level, lower = divmod(place, len(self._norms))
        if not lower:
            return self._costs_at(level)
        ahead, behind = self._costs_at(level + 1), self._costs_at(level)
        return _Costs(
            *(
                torch.cat([getattr(ahead, side.name)[:lower], getattr(behind, side.name)[lower:]])
                for side in fields(_Costs)
            )
        )

    def _costs_at(self, level: int) -> _Costs:
        if level not in self._levels:
            self._levels[level] = self._costs(self._distortion(level))
        return self._levels[level]

    def _costs(self, distortion: float) -> _Costs:
        price = BITS_PER_NAT * distortion
        choices = (self._low_rank(distortion), self._dense(distortion), self._raw())
        deltas, bits = (torch.stack([choice[i] for choice in choices]) for i in (0, 1))
        errors = self._rounded(deltas)
        kinds = (errors + price * bits).argmin(0)
        return _Costs(kinds, *(side.gather(0, kinds[None])[0] for side in (errors, deltas, bits)))

    def _low_rank(self, distortion: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared errors and bits of low rank, at the rank whose components are worth their bits."""
        shape = self._rows[:, None], self._columns[:, None]
        # A component whose square is below this is dropped: its bits alone cost more.
        nearest = 2 * (shape[0] + shape[1]) * distortion
        most = max(1, int((torch.square(self._values) > nearest).sum(1).max()))
        strengths = self._values[:, :most]
        errors, bits = costs = _component_costs(strengths, shape, distortion)
        ranks = _kept(strengths, costs, distortion)
        kept = torch.arange(most, device="cpu") < ranks[:, None]
        left_out = self._left_out.gather(1, ranks[:, None])[:, 0]
        total = left_out + torch.where(kept, errors, 0.0).sum(1)
        # Low rank is never chosen for a tensor without singular values.
        total = torch.where(self._values[:, 0] > 0, total, math.inf)
        return total, torch.where(kept, bits, 0.0).sum(1)

    def _dense(self, distortion: float) -> tuple[torch.Tensor, torch.Tensor]:
        """Squared errors and bits of one integer for each element, with steps that are powers of two."""
        elements = self._rows * self._columns
        deviations = self._norms / torch.sqrt(elements)
        fine = round(0.5 * math.log2(12 * distortion))
        steps = torch.exp2(torch.arange(fine - 1, fine + 3, dtype=torch.float64, device="cpu"))
        ratios = (deviations / steps[:, None]).clamp_min(LEAST_RATIO)
        errors = elements * squared_error(ratios) * torch.square(deviations / ratios)
        bits = elements * entropy(ratios)
        best = (errors + BITS_PER_NAT * distortion * bits).argmin(0)[None]
        return errors.gather(0, best)[0], bits.gather(0, best)[0]

    def _rounded(self, errors: torch.Tensor) -> torch.Tensor:
        """Squared errors of results after rounding, from those of their deltas."""
        elements = self._rows * self._columns
        ratios = torch.sqrt(errors / elements) / self._spacings.clamp_min(1e-150)
        shown = elements * rounded_square(ratios) * torch.square(self._spacings)
        return torch.where(self._spacings > 0, shown, errors)

    def _raw(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(self._raw_bits), RAW_SHARE * self._raw_bits


@dataclass(frozen=True)
class Kept:
    """The components of a delta that are worth their bits at a water level.

    `error`: the squared error that the grid adds to that of truncation. `bits`: the size of the
    components.
    """

    rank: int
    error: float
    bits: float


def kept_at_levels(
    singular_values: torch.Tensor, shape: tuple[int, int], distortions: Sequence[float]
) -> list[Kept]:
    """Choose the rank at each water level, at least 1; `singular_values` are float64, falling."""
    values = singular_values.clamp_min(1e-300)[None]
    levels = _reals(distortions)[:, None]
    costs = _component_costs(values, shape, levels)
    ranks = _kept(values, costs, levels).tolist()
    return [
        Kept(rank, *(float(cost[:rank].sum()) for cost in of_level))
        for rank, *of_level in zip(ranks, *costs, strict=True)
    ]


def _component_costs(
    strengths: torch.Tensor,
    shape: tuple[int | torch.Tensor, int | torch.Tensor],
    distortion: float | torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    strengths = strengths.clamp_min(1e-150)
    errors, bits = component_costs(strengths, shape, best_exponents(strengths, shape, distortion))
    return errors, bits + TABLE_BITS


def _kept(
    strengths: torch.Tensor,
    costs: tuple[torch.Tensor, torch.Tensor],
    distortion: float | torch.Tensor,
) -> torch.Tensor:
    """The number of first components in each row that are worth their bits, int64, at least 1.

    `strengths` fall along each row.
    """
    pays = costs[0] + BITS_PER_NAT * distortion * costs[1] < torch.square(strengths)
    return pays.long().cumprod(1).sum(1).clamp_min(1)


def _reals(values: object) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64, device="cpu")  # type: ignore[call-overload]
