"""Weights of half precision by their bits: exactly to float32, and rounded back as the spec says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dsvd_registry.codec.exact_product import cast
from dsvd_registry.codec.weights import BLOCK, WORDS, Weights

INF, NAN = float("inf"), float("nan")
DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
HALVES = ["F16", "BF16"]
EVERY_HALF = np.arange(1 << 16, dtype=np.uint16)


def of(values: np.ndarray, dtype: str) -> Weights:
    """float64 numbers as weights, by torch, which rounds to float32 on the way."""
    made = torch.from_numpy(np.asarray(values, np.float64)).to(torch.float32).to(DTYPES[dtype])
    memory = made.contiguous().view(torch.uint8).numpy()
    return Weights.over(memory, (len(values),), dtype)


def rounded(values: np.ndarray, dtype: str) -> np.ndarray:
    """The words that float32 numbers become."""
    out = Weights(np.empty(values.shape, WORDS[dtype]), dtype)
    cast(Weights(values, "F32"), out)
    return out.words


def by_integers(values: np.ndarray, dtype: str) -> np.ndarray:
    """The same in integer arithmetic: the nearest number of so many bits; of two the even one."""
    digits, least = {"F16": (11, -14), "BF16": (8, -126)}[dtype]
    fraction, exponent = np.frexp(values.astype(np.float64))
    last = np.maximum(exponent - 1, least) - (digits - 1)  # the exponent of the last place
    units = np.rint(np.ldexp(fraction, exponent - last))  # exact but for `rint`, which is to even
    return np.ldexp(units, last)


@pytest.mark.parametrize("dtype", HALVES)
def test_every_half_becomes_its_float32(dtype: str) -> None:
    """Compared with numpy's cast, or with the upper half of a float32; NaN stays NaN."""
    if dtype == "F16":
        wanted = EVERY_HALF.view(np.float16).astype(np.float32)
    else:
        wanted = (EVERY_HALF.astype(np.uint32) << 16).view(np.float32)
    finite = np.isfinite(wanted)
    for some in (np.ones(1 << 16, bool), finite):
        found = Weights(EVERY_HALF[some], dtype).widened()
        is_nan = np.isnan(wanted[some])
        assert np.array_equal(np.isnan(found), is_nan)
        bits = [side[~is_nan].view(np.uint32) for side in (found, wanted[some])]
        assert np.array_equal(*bits)


@pytest.mark.parametrize("dtype", HALVES)
def test_every_half_comes_back(dtype: str) -> None:
    weights = Weights(EVERY_HALF, dtype)
    wide = weights.widened()
    back = rounded(wide, dtype)
    is_nan = np.isnan(wide)
    assert np.array_equal(back[~is_nan], EVERY_HALF[~is_nan])
    assert np.isnan(Weights(back[is_nan], dtype).widened()).all()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("seed", range(4))
def test_a_float32_goes_to_the_nearest(dtype: str, seed: int) -> None:
    """Numbers of any bits, and ones around every tie."""
    numbers = np.random.default_rng(seed)
    words = numbers.integers(0, 1 << 32, 3 * BLOCK + 5, dtype=np.uint32)
    if seed:  # halfway between two halves, and next to that
        low = 13 if dtype == "F16" else 16
        words = words >> low << low | 1 << (low - 1)
        words += numbers.integers(0, 3, len(words), dtype=np.uint32) - np.uint32(1)
    if dtype == "F16" and seed > 1:  # where its numbers are, below the normal ones too
        words = words & 0x8FFFFFFF | np.uint32(0x30000000)
    values = words.view(np.float32)
    values = values[np.isfinite(values)]
    wanted = by_integers(values, dtype)
    largest = {"F16": 65504.0, "BF16": float(torch.finfo(torch.bfloat16).max)}[dtype]
    wanted[np.abs(wanted) > largest] *= INF
    found = Weights(rounded(values, dtype), dtype).widened()
    assert np.array_equal(found, wanted)
    assert np.array_equal(np.signbit(found), np.signbit(values))


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("bits", [0x7F800001, 0x7FFFFFFF, 0xFF80FFFF, 0xFFFFFFFF, 0x7FC00000])
def test_a_nan_stays_one(dtype: str, bits: int) -> None:
    values = np.array([1.0, 0.0, -2.5], np.float32)
    values.view(np.uint32)[1] = bits
    found = Weights(rounded(values, dtype), dtype).widened()
    assert np.isnan(found[1])
    assert found[0] == 1.0 and found[2] == -2.5


def test_a_float64_is_rounded_to_float32_first() -> None:
    """1 + 2^-11 + 2^-30 is nearer to the next float16, but float32 makes it a tie."""
    from dsvd_registry.codec.weights import round_block

    for dtype, digits in (("F16", 11), ("BF16", 8)):
        value = 1 + 2.0**-digits + 2.0**-30
        out = np.empty(1, np.uint16)
        round_block(np.array([value]), dtype, out)
        assert Weights(out, dtype).widened()[0] == 1.0
        if dtype == "F16":
            assert np.float16(value) == 1 + 2.0**-10


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [None, INF, -INF, NAN, -NAN])
def test_not_finite_anywhere(dtype: str, bad: float | None) -> None:
    values = np.linspace(-3, 4, 1001)
    if bad is None:
        assert of(values, dtype).is_finite() and not of(values, dtype).has_nan()
        return
    for index in (0, 7, 500, 1000):
        changed = values.copy()
        changed[index] = bad
        assert not of(changed, dtype).is_finite()
        assert of(changed, dtype).has_nan() == (bad != bad)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_ends_of_what_is_finite(dtype: str) -> None:
    largest = float(torch.finfo(DTYPES[dtype]).max)
    assert of(np.array([largest, -largest, -0.0]), dtype).is_finite()
    assert not of(np.array([INF, -INF, 1.0]), dtype).is_finite()
    assert not of(np.array([INF, -INF, 1.0]), dtype).has_nan()
    assert of(np.array([INF, -INF, NAN]), dtype).has_nan()
    assert of(np.array([INF, -INF, 1.0, -INF, NAN, -NAN, largest]), dtype).infinities() == 3
    assert of(np.array([largest, -largest, -0.0, NAN]), dtype).infinities() == 0
    negative = of(np.array([1.0, 2.0]), dtype)
    negative.words.view(f"u{negative.words.itemsize}")[1] = {4: 0xFFC00001, 2: 0xFFC1}[
        negative.words.itemsize
    ]
    assert negative.has_nan() and not negative.is_finite()
    empty = Weights(np.empty(0, WORDS[dtype]), dtype)
    assert empty.is_finite() and not empty.has_nan()
