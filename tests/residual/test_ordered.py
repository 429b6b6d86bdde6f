"""Differences of ordered integers are a bijection on bits, of every dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.residual.ordered import FORMATS, Bits, differences, exponents, restored

from .bits import DTYPES, FILLS, numbers, rounded

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, Bits, Bits]:
    dtype, count = draw(st.sampled_from(DTYPES)), draw(st.integers(0, 64))
    return dtype, draw(numbers(dtype, count)), draw(numbers(dtype, count))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pair=pairs())
def test_back(pair: tuple[str, Bits, Bits]) -> None:
    """`restored` undoes `differences`, which leaves what it is given as it is."""
    dtype, source, prediction = pair
    of, before = FORMATS[dtype], (source.copy(), prediction.copy())
    coded = differences(source, prediction, of)
    assert coded.dtype == of.unsigned and coded.shape == source.shape
    assert (source == before[0]).all() and (prediction == before[1]).all()
    again = restored(coded, prediction, of)
    assert (again == source).all() and (prediction == before[1]).all()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pair=pairs())
def test_onto(pair: tuple[str, Bits, Bits]) -> None:
    """Any integer is a difference: `differences` undoes `restored`, too."""
    dtype, coded, prediction = pair
    of = FORMATS[dtype]
    source = restored(coded.copy(), prediction, of)
    assert (differences(source, prediction, of) == coded).all()


@each_dtype
@pytest.mark.parametrize("source", FILLS)
@pytest.mark.parametrize("prediction", FILLS)
def test_kinds(dtype: str, source: str, prediction: str) -> None:
    of, random = FORMATS[dtype], np.random.default_rng(7)
    s, p = (FILLS[name](1000, dtype, random) for name in (source, prediction))
    assert (restored(differences(s, p, of), p, of) == s).all()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
@pytest.mark.parametrize("prediction", [0x0000, 0x8000, 0x3C00, 0xBC00, 0x7FFF, 0xFFFF])
def test_all_of_16_bits(dtype: str, prediction: int) -> None:
    """Different sources have different differences."""
    of, source = FORMATS[dtype], np.arange(1 << 16).astype("u2")
    p = np.full(1 << 16, prediction, "u2")
    coded = differences(source, p, of)
    assert len(np.unique(coded)) == 1 << 16
    assert (restored(coded, p, of) == source).all()


@each_dtype
def test_neighbours_are_one_apart(dtype: str) -> None:
    """Across zero and across powers of two; so the sum of the mantissa and the exponent counts."""
    of = FORMATS[dtype]
    one, least = int(rounded(np.array([1.0]), dtype)[0]), 1
    sign = 1 << (of.bits - 1)
    rising = [sign | one, sign | one - 1, sign | least, sign, 0, least, one - 1, one, one + 1]
    bits = np.array(rising, of.unsigned)
    steps = differences(bits[1:], bits[:-1], of)
    assert steps[[0, 2, 3, 4, 6, 7]].tolist() == [2] * 6  # one place up, in zigzag form
    back = differences(bits[:-1], bits[1:], of)
    assert back[[0, 2, 3, 4, 6, 7]].tolist() == [1] * 6


@each_dtype
def test_exponents(dtype: str) -> None:
    of = FORMATS[dtype]
    values = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5])
    bias = of.last_exponent // 2
    expected = [0, 0, *[of.last_exponent] * 3, bias, bias, bias - 1]
    assert exponents(rounded(values, dtype), of).tolist() == expected
