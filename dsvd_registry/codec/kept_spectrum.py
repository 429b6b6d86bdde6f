"""The spectrum of a delta, kept from its survey for its encoding, which may need more of it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch

from .spectrum import Spectrum, spectrum

SPARE = 1.4  # of the likely rank: the level of all tensors is not quite that of one alone
SPARE_VECTORS = 12


@dataclass(frozen=True)
class KeptSpectrum:
    """All singular values of an (m, n) delta, and the first t vectors of its smaller side.

    `singular_values`: float64 (min(m, n),). `vectors`: (min(m, n), t), on the CPU. `transposed`: as of
    `Spectrum`.
    """

    singular_values: torch.Tensor
    vectors: torch.Tensor
    transposed: bool

    @property
    def nbytes(self) -> int:
        """The memory that the vectors take."""
        return self.vectors.nbytes

    def over(self, matrix: torch.Tensor) -> Spectrum:
        """The spectrum of `matrix`, the same delta, which is decomposed again for further vectors."""
        whole = functools.cache(lambda: spectrum(matrix))

        def vectors(count: int) -> torch.Tensor:
            if count <= self.vectors.shape[1]:
                return self.vectors[:, :count].to(matrix.device)
            return whole().vectors(count)

        return Spectrum(self.singular_values, vectors, self.transposed)


def kept(svd: Spectrum, likely_error: float) -> KeptSpectrum:
    """Keep the vectors that an encoding with about this relative Frobenius error needs."""
    rank = _likely_rank(svd.singular_values, likely_error)
    count = min(len(svd.singular_values), math.ceil(SPARE * rank) + SPARE_VECTORS)
    return KeptSpectrum(svd.singular_values, svd.vectors(count).cpu(), svd.transposed)


def _likely_rank(singular_values: torch.Tensor, error: float) -> int:
    """The rank by reverse water-filling: of components whose squares are above 4 (m + n) D.

    The grid adds about (m + n) D for each of them, and the others are left out.
    """
    squares = torch.square(singular_values)
    total = squares.sum()
    grid = torch.arange(1, len(squares) + 1, dtype=torch.float64, device="cpu") * squares / 4
    met = total - squares.cumsum(0) + grid <= error**2 * total
    return int(met.long().argmax()) + 1 if bool(met.any()) else len(squares)
