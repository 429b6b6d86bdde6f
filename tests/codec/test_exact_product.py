"""The product of integer factors is exact on either path, and rounded once by the rule of the spec."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.codec import exact_product
from dsvd_registry.codec.components import EXACT_FP32, EXACT_FP64, magnitude_bound

from .integers import (
    DEVICES,
    DTYPES,
    bases,
    bits,
    bound,
    components_of,
    expected,
    path_of,
    reconstruct,
    reconstruct_dense,
    round_fraction,
    some_components,
    worst_partial_sum,
)

F64, F32, F16, BF16 = torch.float64, *DTYPES
quick = settings(derandomize=True, max_examples=150, deadline=None)
on_each_device = pytest.mark.parametrize("device", DEVICES)


@on_each_device
@pytest.mark.parametrize("most_bits", [24, 53])
@quick
@given(data=st.data(), dtype=st.sampled_from(DTYPES))
def test_every_path_gives_the_bits_of_integer_arithmetic(most_bits, device, data, dtype) -> None:
    components = data.draw(some_components(most_bits))
    base = data.draw(bases(components))
    assert bound(components) < 1 << most_bits
    wanted = bits(expected(base, components, dtype))
    for path in (F64, None, *((F32,) if most_bits == 24 else ())):
        found = reconstruct(base, components, dtype, path, device)
        assert torch.equal(bits(found), wanted), path


@quick
@given(data=st.data())
def test_the_bound_is_over_every_partial_sum(data) -> None:
    components = data.draw(some_components(53))
    assert worst_partial_sum(components) <= bound(components) < EXACT_FP64


@quick
@given(components=st.integers(20, 34).flatmap(some_components))
def test_fp32_is_chosen_only_where_no_partial_sum_can_exceed_it(components) -> None:
    if path_of(components, "numpy") == F32:
        assert worst_partial_sum(components) <= EXACT_FP32
    else:
        assert bound(components) >= EXACT_FP32 or components.exponents.max() > 90


def many_large(largest: int, seed: int = 0):
    """Eight components of odd integers: sums need every bit that they have."""
    numbers = np.random.default_rng(seed)
    a, b = (numbers.integers(1, largest // 2, (8, size)) * 2 - 1 for size in (24, 40))
    return components_of(a, b, [0] * 8)


@on_each_device
def test_fp64_is_chosen_where_fp32_would_be_wrong(device: str) -> None:
    components = many_large(6000)
    assert path_of(components, device) == F64
    base = torch.zeros(24, 40)
    wanted = bits(expected(base, components, F32))
    assert torch.equal(bits(reconstruct(base, components, F32, device=device)), wanted)
    assert not torch.equal(bits(reconstruct(base, components, F32, F32, device)), wanted)


@on_each_device
def test_fp32_is_chosen_up_to_its_bound(device: str) -> None:
    at = components_of([[4095]], [[4097]], [-3])
    over = components_of([[4096]], [[4097]], [-3])
    assert bound(at) == EXACT_FP32 - 1
    assert path_of(at, device) == F32
    assert path_of(over, device) == F64


@on_each_device
def test_rows_prove_fp32_where_the_largest_integers_do_not(device: str) -> None:
    """Cauchy-Schwarz: large integers that never meet."""
    spread = np.diag(np.arange(3000, 3040))
    components = components_of(spread, np.roll(spread, 5, axis=1) // 7 + 1, [-9] * 40)
    assert bound(components) > EXACT_FP32
    assert path_of(components, device) == F32
    base = torch.linspace(-1e5, 1e5, 40 * 40).reshape(40, 40)
    for dtype in DTYPES:
        wanted = bits(expected(base, components, dtype))
        for path in (F32, F64):
            found = reconstruct(base, components, dtype, path, device)
            assert torch.equal(bits(found), wanted)


@pytest.mark.parametrize("shift", [1, 2, 7])
def test_rows_are_judged_with_the_shift_on_both_sides(shift: int) -> None:
    """4095 * 4097 < 2^24 at the least exponent, but a component above it is larger by 2^shift."""
    components = components_of([[4095, 0], [0, 1]], [[4097, 0], [0, 1]], [shift, 0])
    assert worst_partial_sum(components) > EXACT_FP32
    assert path_of(components, "numpy") == F64


def test_fp64_is_chosen_where_fp32_ends() -> None:
    assert path_of(components_of([[1]], [[1]], [126]), "numpy") == F32
    assert path_of(components_of([[3]], [[1]], [126]), "numpy") == F64


@quick
@given(
    st.lists(
        st.tuples(st.integers(-126, 126), st.integers(1, 2**31), st.integers(1, 2**31)), min_size=1
    )
)
def test_the_bound_is_an_exact_integer(rows) -> None:
    exponents, a, b = zip(*rows, strict=True)
    scaled = sum(x * y * 2 ** (e + 126) for e, x, y in rows)
    assert magnitude_bound(exponents, a, b) * 2 ** (min(exponents) + 126) == scaled


@on_each_device
@pytest.mark.parametrize("path", [F32, F64])
def test_a_delta_of_zero_is_positive(path: torch.dtype, device: str) -> None:
    """-0.0 in the base becomes +0.0, also where all terms of the sum are -0.0."""
    components = components_of([[-3, 3, 0]], [[0, 0, 1, -1]], [-4])
    for dtype in DTYPES:
        found = reconstruct(torch.full((3, 4), -0.0, dtype=dtype), components, dtype, path, device)
        zeros = found == 0
        assert zeros.sum() == 8
        assert not torch.signbit(found[zeros]).any()


@on_each_device
@pytest.mark.parametrize("path", [F32, F64])
@pytest.mark.parametrize("dtype", DTYPES)
def test_subnormal_weights(dtype: torch.dtype, path: torch.dtype, device: str) -> None:
    """Subnormal weights of the base and of the result, alone and where they cancel."""
    width = torch.int16 if dtype.itemsize == 2 else torch.int32
    least = torch.arange(1, 601, dtype=torch.int32).to(width).view(dtype).reshape(20, 30)
    base = least * torch.tensor([1, -1], dtype=dtype).repeat(15)
    exponent = -24 if dtype == F16 else -126
    sparse = np.arange(20) % 3 == 0
    components = components_of([sparse], [np.arange(30) % 4 - 1], [exponent])
    wanted = expected(base, components, dtype)
    assert ((wanted != 0) & (wanted.abs() < torch.finfo(dtype).tiny)).sum() > 100
    found = reconstruct(base, components, dtype, path, device)
    assert torch.equal(bits(found), bits(wanted))


@on_each_device
@pytest.mark.parametrize(("dtype", "digits"), [(F16, 11), (BF16, 8)])
def test_a_half_is_rounded_through_fp32(dtype: torch.dtype, digits: int, device: str) -> None:
    """1 + 2^-11 + 2^-30 is nearer to the next fp16, but fp32 makes it a tie, which goes to even."""
    components = components_of([[1]], [[2 ** (30 - digits) + 1]], [-30])
    found = reconstruct(torch.ones(1, 1, dtype=dtype), components, dtype, device=device)
    assert found.item() == 1.0
    exact_value = 1 + 2.0**-digits + 2.0**-30
    assert (exact_value - 1) > 2.0**-digits  # above half the distance to the next number
    if dtype == F16:
        assert np.float16(exact_value) == 1 + 2.0**-10


@on_each_device
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_overflow_is_infinite(dtype: torch.dtype, device: str) -> None:
    largest = torch.full((1, 2), torch.finfo(dtype).max, dtype=dtype)
    exponent = 10 if dtype == F16 else 125
    components = components_of([[1]], [[1, -1]], [exponent])
    found = reconstruct(largest, components, dtype, device=device)
    assert torch.isinf(found[0, 0])
    assert torch.isfinite(found[0, 1])


@on_each_device
@quick
@given(data=st.data(), dtype=st.sampled_from(DTYPES), exponent=st.integers(-126, 90))
def test_dense_deltas_are_exact_too(device, data, dtype, exponent) -> None:
    values = data.draw(st.lists(st.integers(-(2**31) + 1, 2**31 - 1), min_size=4, max_size=4))
    base = data.draw(bases(components_of([[1, 1]], [[1, 1]], [exponent])))
    sums = torch.tensor([values]).reshape(2, 2).tolist()
    wanted = [
        [
            round_fraction(Fraction(w) + x * Fraction(2) ** exponent, dtype)
            for w, x in zip(*rows, strict=True)
        ]
        for rows in zip(base.to(F64).tolist(), sums, strict=True)
    ]
    found = reconstruct_dense(base, np.array(values, np.int32), exponent, dtype, device)
    assert torch.equal(bits(found), bits(torch.tensor(wanted, dtype=F64).to(dtype)))


@on_each_device
@pytest.mark.parametrize("elements", [1, 7, 64, 1000])
def test_tiles_do_not_show(elements: int, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    components = many_large(9000)
    base = torch.linspace(-1e9, 1e9, 24 * 40).reshape(24, 40)
    whole = reconstruct(base, components, BF16, device=device)
    monkeypatch.setattr(exact_product, "TILE_ELEMENTS", elements)
    assert torch.equal(bits(reconstruct(base, components, BF16, device=device)), bits(whole))
