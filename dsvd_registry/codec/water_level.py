"""One water level for all tensors: where a bit buys the same fall of the squared error everywhere.

A distortion D prices a bit at 2 ln 2 D of squared error. At that price each tensor takes the kind of
record, the components and the steps that cost least; a lower level takes more bits and leaves less
error. What an encoder really reaches is measured there; here is the plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch

from .integer_grid import best_exponents, component_costs
from .rate_distortion import BITS_PER_NAT, entropy, rounded_square, squared_error

Kind = Literal["low_rank", "dense", "raw"]
KINDS: tuple[Kind, ...] = ("low_rank", "dense", "raw")
TABLE_BITS = 8 * 9.0  # of a component besides its numbers, compressed
RAW_SHARE = 0.92  # of a tensor's own bits that are left when they are compressed
COARSEST, FINEST = 2.0**30, 1e-16  # levels, in mean squares of an element of all deltas
STEP = 2.0 ** (1 / 16)  # from a level to the next: a fiftieth of the error
LEVELS = math.ceil(math.log(COARSEST / FINEST, STEP))
LEAST_RATIO = 0.25  # of a dense delta's deviation to its step: never so coarse that nothing is seen


@dataclass(frozen=True)
class Survey:
    """What the plan needs to know of a changed tensor, an (m, n) delta.

    `singular_values`: float64, falling; empty where no components can be taken. `norm`: Frobenius
    norm of the delta. `spacing`: root mean square distance between the numbers of the result's dtype
    at the source's elements, 0 for float32. `raw_bits`: of the tensor itself.
    """

    shape: tuple[int, int]
    singular_values: torch.Tensor
    norm: float
    spacing: float
    raw_bits: float


@dataclass(frozen=True)
class Target:
    """What one tensor is to be: its kind of record, its level, and the error that it may have.

    `allowed`: Frobenius distance of the stored delta from the true one, before the result is
    rounded. `bits`: what the model expects it to take.
    """

    kind: Kind
    distortion: float
    allowed: float
    bits: float


@dataclass(frozen=True)
class _Costs:
    """Of every tensor, float64 (tensors,): its kind's place in `KINDS`, squared errors and bits.

    `errors`: of the results, rounded to their dtypes; `deltas`: of the deltas, before that.
    """

    kinds: torch.Tensor
    errors: torch.Tensor
    deltas: torch.Tensor
    bits: torch.Tensor


class Plan:
    """A row of plans for the tensors of `surveys`, from the coarsest, 0, to the finest, `last`.

    From one place to the next a single tensor goes down by a level; once all have, they go down
    again. So no step is larger than a tensor, also where many change their kind at one level.
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
        # Squares of all components from each one on.
        self._left_out = torch.square(self._values).flip(1).cumsum(1).flip(1)
        self._left_out = torch.nn.functional.pad(self._left_out, (0, 1))

    @property
    def norm(self) -> float:
        """Frobenius norm of all deltas together."""
        return float(torch.linalg.vector_norm(self._norms))

    @property
    def last(self) -> int:
        """The place of the finest plan; 0 where nothing is to be planned."""
        return LEVELS * len(self._norms)

    def targets(self, place: int) -> list[Target]:
        """Of each tensor, in the order of the surveys."""
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
        """What all tensors are expected to take."""
        return float(self._at(place).bits.sum()) if len(self._norms) else 0.0

    def within_error(self, error: float) -> list[Target]:
        """The first that keeps the Frobenius error of all results together within `error`."""
        if not len(self._norms):
            return []
        low, high = -1, self.last
        while high - low > 1:
            middle = (low + high) // 2
            if float(self._at(middle).errors.sum()) <= error**2:
                high = middle
            else:
                low = middle
        return self.targets(high)

    def _distortion(self, level: int) -> float:
        scale = self.norm**2 / float((self._rows * self._columns).sum())
        return COARSEST * scale / STEP**level

    def _at(self, place: int) -> _Costs:
        """At `place`: of the first tensors those of the next level."""
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
        """The first components, at least one, that are worth their bits."""
        shape = self._rows[:, None], self._columns[:, None]
        # A component whose square is under this is dropped: its bits alone cost more.
        nearest = 2 * (shape[0] + shape[1]) * distortion
        most = max(1, int((torch.square(self._values) > nearest).sum(1).max()))
        strengths = self._values[:, :most]
        errors, bits = worth = _component_costs(strengths, shape, distortion)
        ranks = _kept(strengths, worth, distortion)
        kept = torch.arange(most, device="cpu") < ranks[:, None]
        left_out = self._left_out.gather(1, ranks[:, None])[:, 0]
        total = left_out + torch.where(kept, errors, 0.0).sum(1)
        # A tensor without components is never taken for one.
        total = torch.where(self._values[:, 0] > 0, total, math.inf)
        return total, torch.where(kept, bits, 0.0).sum(1)

    def _dense(self, distortion: float) -> tuple[torch.Tensor, torch.Tensor]:
        """An integer for each element; the step is a power of two."""
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
        """Squared errors of deltas as they show in results, whose sources are numbers of the dtype."""
        elements = self._rows * self._columns
        ratios = torch.sqrt(errors / elements) / self._spacings.clamp_min(1e-150)
        shown = elements * rounded_square(ratios) * torch.square(self._spacings)
        return torch.where(self._spacings > 0, shown, errors)

    def _raw(self) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.zeros_like(self._raw_bits), RAW_SHARE * self._raw_bits


@dataclass(frozen=True)
class Kept:
    """The first components of a delta, as many as are worth their bits at a level.

    `error`: the square of what the grid adds to what is left out; `bits`: what they take.
    """

    rank: int
    error: float
    bits: float


def kept_at_level(singular_values: torch.Tensor, shape: tuple[int, int], distortion: float) -> Kept:
    """At least one component of falling float64 `singular_values`, of a delta of this shape."""
    values = singular_values.clamp_min(1e-300)[None]
    costs = _component_costs(values, shape, distortion)
    rank = int(_kept(values, costs, distortion)[0])
    error, bits = (float(cost[0, :rank].sum()) for cost in costs)
    return Kept(rank, error, bits)


def _component_costs(
    strengths: torch.Tensor,
    shape: tuple[int | torch.Tensor, int | torch.Tensor],
    distortion: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    strengths = strengths.clamp_min(1e-150)
    errors, bits = component_costs(strengths, shape, best_exponents(strengths, shape, distortion))
    return errors, bits + TABLE_BITS


def _kept(
    strengths: torch.Tensor, costs: tuple[torch.Tensor, torch.Tensor], distortion: float
) -> torch.Tensor:
    """Of each row of falling `strengths` how many of the first pay, int64; at least one."""
    pays = costs[0] + BITS_PER_NAT * distortion * costs[1] < torch.square(strengths)
    return pays.long().cumprod(1).sum(1).clamp_min(1)


def _reals(values: object) -> torch.Tensor:
    return torch.tensor(list(values), dtype=torch.float64, device="cpu")  # type: ignore[call-overload]
