"""Bits of a stored integer against their entropy, and against the bound of rate-distortion theory.

The container is made with `max_error`. "Stored" are the compressed frames of the components' integers,
without tables and header. The entropy is of order 0, of one code for all rows of integers of one
magnitude class, without the bytes of the code: the rest is what the coding by bytes costs. The bound is
reverse water-filling: the fewest bits that factors of normally distributed coefficients, with the stored
singular values, could take at the same squared error of these components, by a quantiser of unlimited
length. Components may be left out of it, but none added. What is between entropy and bound is lost by
rounding each coefficient for itself. Errors are those that the records state, which `size` verifies.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import LowRankRecord

from .harness.bench import Bench
from .harness.rows import Row
from .harness.stored_delta import opened_container
from .subjects.pair import Subject

SUBJECTS = ("sd15-fp32", "demo", "pair")
ERRORS = (0.3852, 0.6848, 0.8845)  # those of tau 0.5, 0.2 and 0.06 on the U-Net of table 2


@dataclass(frozen=True)
class Rate:
    """Bits of all integers of components: as stored, their entropy, and the bound."""

    integers: int
    stored: float
    entropy: float
    bound: float


@dataclass(frozen=True)
class Strengths:
    """The stored singular values (r,) of one (m, n) tensor, and the squared error that the grid adds."""

    values: npt.NDArray[np.float64]
    sides: int  # m + n
    error: float


def measure(bench: Bench, subject: Subject) -> Iterator[Row]:
    for error in ERRORS:
        with (
            bench.stored(subject, max_error=error) as stored,
            opened_container(stored.registry, stored.ref) as container,
        ):
            rate = _rate(container)
        ours = rate.stored / rate.integers
        what, note = f"integers, error at most {error}", f"{rate.integers:,} integers"
        for name, bits in (("entropy, order 0", rate.entropy), ("rate-distortion", rate.bound)):
            yield Row(what, "bits", ours, 1, name, bits / rate.integers, 1, note=note)


def _rate(container: Container) -> Rate:
    classes: defaultdict[int, list[npt.NDArray[np.int32]]] = defaultdict(list)
    tensors = []
    integers = 0
    for number, record in enumerate(container.header.tensors):
        if not isinstance(record, LowRankRecord):
            continue
        a, b = container.components(number, record.rank)
        for row in (*a, *b):
            classes[_class(int(np.abs(row.astype(np.int64)).max()))].append(row)
        integers += a.size + b.size
        values = container.table(number).singular_values.astype(np.float64)
        left_out = max(0.0, record.norm**2 - float(values @ values))
        error = max(0.0, (record.error * record.norm) ** 2 - left_out)
        tensors.append(Strengths(values, a.shape[1] + b.shape[1], error))
    stored = sum(f.stored for f in container.header.frames if f.content == "components")
    entropy = sum(_entropy(np.concatenate(rows)) for rows in classes.values())
    return Rate(integers, 8.0 * stored, entropy, least_bits(tensors))


def least_bits(tensors: Sequence[Strengths]) -> float:
    """The fewest bits at which rank-one matrices have the errors of `tensors` together.

    Where each of the m + n coefficients of a component s u v^T leaves the share d of its variance, the
    component takes (m + n) / 2 log2(1 / d) bits, and its squared error is s^2 (2 d - d^2). At the price
    P for a bit, d (1 - d) s^2 = P (m + n) / (4 ln 2) is best, or to leave the component out.
    """
    squares = np.concatenate([t.values**2 for t in tensors])
    sides = np.concatenate([np.full(len(t.values), float(t.sides)) for t in tensors])
    allowed = sum(t.error for t in tensors)
    low, high = 0.0, float(squares.max())
    for _ in range(100):
        price = (low + high) / 2
        errors, _ = _at_price(price, squares, sides)
        low, high = (price, high) if errors <= allowed else (low, price)
    return _at_price(low, squares, sides)[1]


def _at_price(
    price: float, squares: npt.NDArray[np.float64], sides: npt.NDArray[np.float64]
) -> tuple[float, float]:
    """The squared error and the bits of all components together at a price for a bit."""
    product = np.minimum(price * sides / (4 * math.log(2) * squares), 0.25)
    left = np.maximum(2 * product / (1 + np.sqrt(1 - 4 * product)), 1e-300)
    errors, bits = squares * (2 * left - left**2), -sides / 2 * np.log2(left)
    pays = errors + price * bits < squares
    return float(np.where(pays, errors, squares).sum()), float(bits[pays].sum())


def _class(maximum: int) -> int:
    """The four leading bits of a row's largest magnitude, as in the spec's section "Rows"."""
    low = max(0, maximum.bit_length() - 4)
    return maximum >> low << low


def _entropy(values: npt.NDArray[np.int32]) -> float:
    _, counts = np.unique(values, return_counts=True)
    return float((counts * np.log2(values.size / counts)).sum())
