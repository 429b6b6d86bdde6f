"""Encoding of a sum of deltas, which is known exactly: as two factors, or as a whole matrix.

The source of a sum is base + delta, rounded once to the dtype of the result. No rounding noise of
its own is in it, so no rank is capped, and the grid is as fine as for the factors of a LoRA.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from .arithmetic import one_blas_thread
from .components import Components, Elements, GridDelta
from .encode_lora_factors import (
    PRODUCT_ERROR,
    encode_spectrum,
    finite_spectrum,
    low_rank_of,
    measure,
)
from .encode_tau import EncodeRequest, SizeOf, encode_delta
from .encode_water_level import (
    NEARER,
    components_within,
    encode_pair_at,
    survey_of,
    survey_pair,
)
from .encoded import Dense, Encoded, LowRank, Raw, Same
from .exact_product_torch import CPU, ieee_arithmetic
from .integer_grid import OutsideGrid, component_grid
from .product_spectrum import FactorSpectrum, product_distance
from .spectrum import spectrum
from .tensor_pair import Distance, Pair, is_same, matrix_shape, square_sum
from .torch_tensors import is_finite, round_to
from .water_level import Survey, Target


@dataclass(frozen=True)
class MatrixSum:
    """A delta as a float64 matrix (m, n) to `base` (m, ...), for a result of `dtype`."""

    base: torch.Tensor
    delta: torch.Tensor
    dtype: torch.dtype

    @cached_property
    def source(self) -> torch.Tensor:
        """The exact sum, rounded once, as a matrix. Raises `OutsideGrid` if it is not finite."""
        rounded = round_to(self.delta + self.base.reshape(self.delta.shape), self.dtype)
        if not is_finite(rounded):
            raise OutsideGrid
        return rounded

    def encode(self, request: EncodeRequest, size_of: SizeOf) -> Encoded:
        """Encode at a tau; see `encode_tau.encode`. Raises `OutsideGrid`."""
        with ieee_arithmetic(CPU), one_blas_thread:
            sides = self._pair()
            if not sides.norm:
                return self._unchanged()
            svd = spectrum(sides.delta, request.tau) if self.base.ndim >= 2 else None
            exact = replace(request, keep_noise=True, least_noise=PRODUCT_ERROR)
            return encode_delta(sides, svd, exact, size_of)

    def survey(self) -> Survey | None:
        """Measure it for the plan of water levels; None if it is zero. Raises `OutsideGrid`."""
        with ieee_arithmetic(CPU), one_blas_thread:
            return survey_pair(self._pair(), self.base.ndim, CPU.type)

    def encode_at(self, target: Target, size_of: SizeOf) -> Encoded:
        """Encode at a water level; see `encode_water_level.encode_at`. Raises `OutsideGrid`."""
        with ieee_arithmetic(CPU), one_blas_thread:
            sides = self._pair()
            if not sides.norm:
                return self._unchanged()
            return encode_pair_at(sides, target, CPU.type, size_of)

    def _unchanged(self) -> Same | Raw:
        return Same() if is_same(self.base, self.source) else Raw("signed_zero")

    def _pair(self) -> Pair:
        base = self.base.reshape(self.delta.shape)
        norms = math.sqrt(square_sum(base.to(torch.float32))), math.sqrt(square_sum(self.delta))
        return Pair(base, self.source, self.delta, *norms, noise_variance=0.0)


@dataclass(frozen=True)
class FactorSum:
    """A delta as float64 factors up (m, r) and down (r, n) to `base` (m, ...), for `dtype`.

    The full (m, n) product is computed a tile at a time, to measure the error of the result.
    """

    base: torch.Tensor
    up: torch.Tensor
    down: torch.Tensor
    dtype: torch.dtype

    @property
    def source(self) -> torch.Tensor:
        """The exact sum, rounded once, as a matrix. Raises `OutsideGrid` if it is not finite."""
        return self._matrix.source

    @cached_property
    def _matrix(self) -> MatrixSum:
        """The same sum with its product computed."""
        with ieee_arithmetic(CPU), one_blas_thread:
            return MatrixSum(self.base, self.up @ self.down, self.dtype)

    def encode(self, request: EncodeRequest, size_of: SizeOf) -> Encoded:
        """Encode at a tau, from the factors if the grid allows it. Raises `OutsideGrid`."""
        try:
            with ieee_arithmetic(CPU), one_blas_thread:
                return encode_spectrum(self._spectrum, request, self._measured)
        except OutsideGrid:
            return self._matrix.encode(request, size_of)

    def survey(self) -> Survey | None:
        """Measure it for the plan of water levels; None if it is zero. Raises `OutsideGrid`."""
        with ieee_arithmetic(CPU), one_blas_thread:
            values = self._spectrum.singular_values
            norm = float(torch.linalg.vector_norm(values))
            source = round_to(self.base, self.dtype)
            return survey_of(matrix_shape(self.base), values, norm, source) if norm else None

    def encode_at(self, target: Target, size_of: SizeOf) -> Encoded:
        """Encode at a water level, from the factors if the plan has low rank. Raises `OutsideGrid`."""
        if target.kind == "low_rank":
            try:
                with ieee_arithmetic(CPU), one_blas_thread:
                    return self._low_rank_at(target)
            except OutsideGrid:
                pass
        return self._matrix.encode_at(target, size_of)

    @cached_property
    def _spectrum(self) -> FactorSpectrum:
        return finite_spectrum(self.up, self.down)

    def _low_rank_at(self, target: Target) -> LowRank:
        svd = self._spectrum
        values = svd.singular_values

        def reached(components: Components) -> Distance:
            rank = len(components.exponents)
            added = product_distance(*svd.balanced(rank), components)
            truncated = float(torch.linalg.vector_norm(values[rank:]))
            return Distance(math.hypot(truncated, added), self._measured(components)[1])

        components, off = components_within(
            values,
            svd.shape,
            lambda rank, distortion: component_grid(*svd.balanced(rank), distortion),
            reached,
            target,
            NEARER * float(torch.linalg.vector_norm(values)),
        )
        base_norm = math.sqrt(square_sum(self.base.to(torch.float32)))
        return low_rank_of(svd, components, (base_norm, off.result))

    def _measured(self, components: Components) -> tuple[float, float]:
        return measure(self.base, self.up, self.down, components, self.dtype, self.dtype)


DeltaSum = FactorSum | MatrixSum


def encode_alone(
    delta: GridDelta, values: npt.NDArray[np.float32] | None, base: torch.Tensor
) -> LowRank | Dense:
    """The integers of one delta as they are, which are the whole sum: its error is 0.

    `values`: the singular values of components. `base`: (m, ...), for the figures alone.
    """
    with ieee_arithmetic(CPU), one_blas_thread:
        base_norm = math.sqrt(square_sum(base.to(torch.float32)))
        if isinstance(delta, Elements):
            norm = float(torch.from_numpy(delta.values).to(torch.float64).norm())
            norm *= 2.0**delta.exponent
            return Dense(
                values=delta.values,
                exponent=delta.exponent,
                base_norm=base_norm,
                norm=norm,
                error=0.0,
            )
        assert values is not None
        up, down = float_factors(delta)
        norm = math.sqrt(max(0.0, float(((up.T @ up) * (down @ down.T)).sum())))
        rank = len(delta.exponents)
        return LowRank(
            components=delta,
            singular_values=values,
            tau_rank=rank,
            noise_rank=rank,
            nuclear_norm=float(values.astype(np.float64).sum()),
            base_norm=base_norm,
            norm=norm,
            error=0.0,
        )


def float_factors(components: Components) -> tuple[torch.Tensor, torch.Tensor]:
    """The exact float64 factors up (m, r) and down (r, n) of components."""
    scales = torch.exp2(torch.from_numpy(components.exponents).to(torch.float64))
    up = torch.from_numpy(components.a).to(torch.float64) * scales[:, None]
    return up.T, torch.from_numpy(components.b).to(torch.float64)
