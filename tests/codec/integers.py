"""The rule of reconstruction in Python integers and fractions: slow, and exact by itself."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch
from hypothesis import strategies as st

from dsvd_registry.codec import exact_product, exact_product_torch
from dsvd_registry.codec.components import Components, Elements, magnitude_bound
from dsvd_registry.codec.exact_product_torch import DeltaProduct, apply_delta, apply_dense
from dsvd_registry.codec.torch_tensors import as_tensor, tensor_to_bytes
from dsvd_registry.codec.weights import Weights

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# numpy on the CPU, and torch on each device that it has.
DEVICES = ["numpy", "cpu"] + (["cuda"] if torch.cuda.is_available() else [])
NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
NUMPY = {torch.float32: np.float32, torch.float64: np.float64, None: None}


def components_of(a: object, b: object, exponents: object) -> Components:
    """Components from nested lists or arrays."""
    return Components(np.array(a, np.int32), np.array(b, np.int32), np.array(exponents, np.int64))


def round_fraction(value: Fraction, dtype: torch.dtype) -> float:
    """RN_T(RN_f32(RN_f64(value))) of a value that is not -0.0."""
    with np.errstate(over="ignore"):  # to infinity is as it should be
        single = np.float32(value.numerator / value.denominator)  # Python divides correctly rounded
        if dtype == torch.float32:
            return float(single)
        if dtype == torch.float16:
            return float(np.float16(single))
    bits = int(single.view(np.uint32))
    bits += 0x7FFF + (bits >> 16 & 1)
    return float(np.uint32(bits & 0xFFFF0000).view(np.float32))


def expected(base: torch.Tensor, components: Components, dtype: torch.dtype) -> torch.Tensor:
    """The weights, each from the exact sum of its terms."""
    weights = torch.empty(base.shape, dtype=torch.float64)
    a, b = components.a.tolist(), components.b.tolist()
    powers = [Fraction(2) ** e for e in components.exponents.tolist()]
    for i, row in enumerate(base.to(torch.float64).tolist()):
        for j, value in enumerate(row):
            delta = sum(
                (p * x[i] * y[j] for p, x, y in zip(powers, a, b, strict=True)), Fraction(0)
            )
            weights[i, j] = round_fraction(Fraction(value) + delta, dtype)
    return weights.to(dtype)  # exact


def reconstruct(
    base: torch.Tensor,
    components: Components,
    dtype: torch.dtype,
    path: torch.dtype | None = None,
    device: str = "numpy",
) -> torch.Tensor:
    """The reconstruction that the package computes."""
    if device == "numpy":
        memory = np.empty(base.numel() * dtype.itemsize, np.uint8)
        out = Weights.over(memory, tuple(base.shape), NAMES[dtype])
        exact_product.DeltaProduct(components, NUMPY[path]).add_to(weights_of(base), out)
        return as_tensor(memory, tuple(base.shape), dtype)
    weights = torch.empty(base.shape, dtype=dtype, device=device)
    apply_delta(base.to(device), DeltaProduct(components, device, path), dtype, weights)
    return weights.cpu()


def reconstruct_dense(
    base: torch.Tensor, values: np.ndarray, exponent: int, dtype: torch.dtype, device: str
) -> torch.Tensor:
    """The same with an integer for each element."""
    if device == "numpy":
        memory = np.empty(base.numel() * dtype.itemsize, np.uint8)
        out = Weights.over(memory, tuple(base.shape), NAMES[dtype])
        exact_product.add_elements(weights_of(base), Elements(values, exponent), out)
        return as_tensor(memory, tuple(base.shape), dtype)
    return apply_dense(base.to(device), values, exponent, dtype).cpu()


def weights_of(tensor: torch.Tensor) -> Weights:
    """A tensor as numpy has it."""
    memory = np.frombuffer(bytes(tensor_to_bytes(tensor)), np.uint8)
    return Weights.over(memory, tuple(tensor.shape), NAMES[tensor.dtype])


def path_of(components: Components, device: str) -> torch.dtype:
    """The floating-point type that is taken of itself."""
    if device != "numpy":
        return exact_product_torch.fastest_exact_path(components, torch.device(device))
    found = exact_product.fastest_exact_path(components)
    return torch.float32 if found is np.float32 else torch.float64


def bound(components: Components) -> int:
    max_a, max_b = (maxima.tolist() for maxima in components.maxima())
    return magnitude_bound(components.exponents.tolist(), max_a, max_b)


def worst_partial_sum(components: Components) -> int:
    """The largest sum of magnitudes of any element's terms, in units of the least exponent."""
    least = int(components.exponents.min())
    scales = [1 << int(e) - least for e in components.exponents]
    a, b = (np.abs(side.astype(np.int64)).tolist() for side in (components.a, components.b))
    return max(
        sum(s * x[i] * y[j] for s, x, y in zip(scales, a, b, strict=True))
        for i in range(len(a[0]))
        for j in range(len(b[0]))
    )


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Tells -0.0 from 0.0."""
    return tensor.contiguous().view(torch.int16 if tensor.itemsize == 2 else torch.int32)


@st.composite
def some_components(draw: st.DrawFn, most_bits: int) -> Components:
    """Up to 5 components whose integers and shifts leave the bound under 2^`most_bits`."""
    rank, m, n = (draw(st.integers(1, most)) for most in (5, 4, 4))
    room = most_bits - 3  # for a sum of five
    sides: tuple[list[list[int]], list[list[int]]] = ([], [])
    shifts = []
    for _ in range(rank):
        bits_a = draw(st.integers(1, min(room - 1, 30)))
        bits_b = draw(st.integers(1, min(room - bits_a, 30)))
        shifts.append(draw(st.integers(0, room - bits_a - bits_b)))
        for side, size, width in ((sides[0], m, bits_a), (sides[1], n, bits_b)):
            integer = st.integers(-(2**width) + 1, 2**width - 1)
            row = draw(st.lists(integer, min_size=size, max_size=size).filter(any))
            side.append(row)
    least = draw(st.integers(-126, 126 - most_bits))
    return components_of(*sides, [least + shift for shift in shifts])


@st.composite
def bases(draw: st.DrawFn, components: Components) -> torch.Tensor:
    """Finite weights of any delta dtype: any bits, or of the size of the delta."""
    dtype = draw(st.sampled_from(DTYPES))
    shape = components.a.shape[1], components.b.shape[1]
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    if draw(st.booleans()):
        words = numbers.integers(-(2**31), 2**31, shape)
        any_bits = torch.from_numpy(words.astype(np.int32)).view(torch.float32)
        found = (
            any_bits.to(dtype)
            if dtype == torch.float32
            else (torch.from_numpy(words.astype(np.int16)).view(dtype))
        )
    else:
        top = int(components.exponents.max())
        found = torch.from_numpy(numbers.standard_normal(shape) * 2.0**top * 100).to(dtype)
    return torch.where(torch.isfinite(found), found, torch.tensor(-0.0, dtype=dtype))
