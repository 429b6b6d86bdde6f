"""Encoding with a choice of the kind, and what a record gives back, computed apart."""

from __future__ import annotations

import math

import numpy as np
import torch

from dsvd_registry.codec.components import Components, magnitude_bound
from dsvd_registry.codec.encode_tau import EncodeRequest, encode
from dsvd_registry.codec.encoded import Dense, Encoded, LowRank
from dsvd_registry.codec.torch_tensors import tensor_to_bytes
from dsvd_registry.encoding.parts import stored_size


def encode_as_stored(
    base: torch.Tensor, source: torch.Tensor, tau: float = 0.5, grid_noise: float = 0.015
) -> Encoded:
    """Encode as `add` does, with the candidate that takes the fewest bytes."""
    data = tensor_to_bytes(source)
    return encode(base, source, EncodeRequest(tau, grid_noise), lambda c: stored_size(c, data))


def candidates(
    base: torch.Tensor,
    source: torch.Tensor,
    tau: float = 0.5,
    grid_noise: float = 0.015,
    *,
    keep_noise: bool = False,
) -> dict[type[Encoded], Encoded]:
    """Everything that the size was asked of, by kind."""
    found: dict[type[Encoded], Encoded] = {}

    def size(candidate: Encoded) -> int:
        found[type(candidate)] = candidate
        return 0

    encode(base, source, EncodeRequest(tau, grid_noise, keep_noise), size)
    return found


def low_rank(
    base: torch.Tensor, source: torch.Tensor, tau: float = 0.5, grid_noise: float = 0.015
) -> LowRank:
    """The low-rank candidate, whether or not it is the smallest."""
    found = candidates(base, source, tau, grid_noise)[LowRank]
    assert isinstance(found, LowRank)
    return found


def delta_of(encoded: LowRank | Dense, shape: tuple[int, ...]) -> np.ndarray:
    """The delta to the base in float64, computed by numpy alone."""
    if isinstance(encoded, Dense):
        return np.ldexp(encoded.values.astype(np.float64), encoded.exponent).reshape(shape)
    c = encoded.components
    a = np.ldexp(c.a.astype(np.float64), c.exponents[:, None])
    return np.einsum("cm,cn->mn", a, c.b.astype(np.float64)).reshape(shape)


def result_of(base: torch.Tensor, encoded: LowRank | Dense, dtype: torch.dtype) -> np.ndarray:
    """The weights as they are read back, float64."""
    total = base.to(torch.float64).numpy() + delta_of(encoded, tuple(base.shape))
    return torch.from_numpy(total).to(torch.float32).to(dtype).to(torch.float64).numpy()


def norm(values: np.ndarray) -> float:
    """Frobenius norm without overflow, by a way of its own."""
    return math.hypot(*values.ravel().tolist())


def assert_within_limits(components: Components) -> None:
    """The limits of the spec, section "Component tables"."""
    exponents = components.exponents.tolist()
    sides = components.a.astype(np.int64), components.b.astype(np.int64)
    max_a, max_b = (np.abs(side).max(axis=1).tolist() for side in sides)
    assert all(1 <= largest <= 2**31 - 1 for largest in (*max_a, *max_b))
    for e, a, b in zip(exponents, max_a, max_b, strict=True):
        assert e >= -126
        assert e + a.bit_length() + b.bit_length() <= 126
    assert magnitude_bound(exponents, max_a, max_b) < 2**53
