"""Differences of ordered integers are a bijection on bits, of every dtype."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from spec.exact_codes import place_of

from dsvd_registry.codec.quantise import GRIDS, Grid
from dsvd_registry.residual.ordered import CODES, FORMATS, Bits
from dsvd_registry.residual.predicted import Predicted, differences, predicted_floats, restored

from .bits import DTYPES, FILLS, numbers, predicted, rounded

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
    coded = differences(source, predicted(prediction, dtype))
    assert coded.dtype == of.unsigned and coded.shape == source.shape
    assert (source == before[0]).all() and (prediction == before[1]).all()
    again = restored(coded, predicted(prediction, dtype))
    assert (again == source).all() and (prediction == before[1]).all()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(pair=pairs())
def test_onto(pair: tuple[str, Bits, Bits]) -> None:
    """Any integer is a difference: `differences` undoes `restored`, too."""
    dtype, coded, prediction = pair
    source = restored(coded.copy(), predicted(prediction, dtype))
    assert (differences(source, predicted(prediction, dtype)) == coded).all()


@each_dtype
@pytest.mark.parametrize("source", FILLS)
@pytest.mark.parametrize("prediction", FILLS)
def test_kinds(dtype: str, source: str, prediction: str) -> None:
    random = np.random.default_rng(7)
    s, p = (FILLS[name](1000, dtype, random) for name in (source, prediction))
    assert (restored(differences(s, predicted(p, dtype)), predicted(p, dtype)) == s).all()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
@pytest.mark.parametrize("prediction", [0x0000, 0x8000, 0x3C00, 0xBC00, 0x7FFF, 0xFFFF])
@pytest.mark.parametrize("unrounded", [0, 0x80000000, 0x3C001000, 0x3C008000])
def test_all_of_16_bits(dtype: str, prediction: int, unrounded: int) -> None:
    """Different sources have different differences."""
    of, source = FORMATS[dtype], np.arange(1 << 16).astype("u2")
    guess = predicted_floats(
        np.full(1 << 16, prediction, "u2"), np.full(1 << 16, unrounded, "u4"), of
    )
    coded = differences(source, guess)
    assert len(np.unique(coded)) == 1 << 16
    assert (restored(coded, guess) == source).all()


@each_dtype
def test_neighbours_are_one_apart(dtype: str) -> None:
    """Across zero and across powers of two; so the sum of the mantissa and the exponent counts."""
    of = FORMATS[dtype]
    one, least = int(rounded(np.array([1.0]), dtype)[0]), 1
    sign = 1 << (of.bits - 1)
    rising = [sign | one, sign | one - 1, sign | least, sign, 0, least, one - 1, one, one + 1]
    bits = np.array(rising, of.unsigned)
    for low, high in ((bits[:-1], bits[1:]), (bits[1:], bits[:-1])):
        steps = differences(high, predicted(low, dtype))[[0, 2, 3, 4, 6, 7]]
        assert set(steps.tolist()) <= {1, 2}  # one place, in zigzag form


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_side_of_the_border(dtype: str) -> None:
    """A step across the nearest border is 1, and one to the other side is 2, whatever the sign."""
    of, random = FORMATS[dtype], np.random.default_rng(1)
    numbers = random.normal(0, 0.02, 4000).astype("f4")
    numbers = numbers[abs(numbers) > 2.0**-14]  # normal in F16, too
    bits = nearest(numbers, dtype)
    guess = predicted_floats(bits, numbers.view("u4"), of)
    off = numbers.astype("f8") - values(bits, dtype)
    assert (off > 0).sum() > 1000 and (off < 0).sum() > 1000
    farther = np.where((off > 0) == (numbers > 0), bits + 1, bits - 1).astype("u2")
    assert ((values(farther, dtype) - values(bits, dtype) > 0) == (off > 0))[off != 0].all()
    assert set(differences(farther, guess)[off != 0].tolist()) == {1}
    nearer = np.where((off > 0) == (numbers > 0), bits - 1, bits + 1).astype("u2")
    assert set(differences(nearer, guess)[off != 0].tolist()) == {2}


@pytest.mark.parametrize("is_up", [False, True])
@pytest.mark.parametrize("grid", GRIDS)
def test_codes(grid: Grid, is_up: bool) -> None:
    """Differences of any two codes; a step across the border is 1, and one to the other side is 2."""
    of = CODES[grid]
    count = 1 << of.bits
    source, code = (side.reshape(-1) for side in np.indices((count, count)).astype(np.uint8))
    guess = Predicted(of, code, np.full(len(code), is_up), np.zeros_like(code))
    coded = differences(source.copy(), guess)
    pairs = zip(source.tolist(), code.tolist(), strict=True)
    off = np.array([place_of(s, grid) - place_of(c, grid) for s, c in pairs]) % count
    assert (off[coded == 1] == (1 if is_up else count - 1)).all()
    assert (off[coded == 2] == (count - 1 if is_up else 1)).all()
    assert coded.max() == count - 1 and (np.bincount(coded) == count).all()
    assert (restored(coded, guess) == source).all()


@each_dtype
def test_classes_of_exponents(dtype: str) -> None:
    of = FORMATS[dtype]
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5])
    bias = of.last_exponent // 2
    expected = [0, 0, *[of.last_exponent] * 3, bias, bias, bias - 1]
    exact = predicted_floats(rounded(special, dtype), rounded(special, "F32"), of)
    times = 1 if dtype == "F32" else 2
    assert (exact.classes // times).tolist() == expected
    assert (exact.classes[[0, 5, 6, 7]] % times == 0).all()


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_classes_of_roundings(dtype: str) -> None:
    """A number is close to the border if it was rounded by more than a quarter of a step."""
    of, random = FORMATS[dtype], np.random.default_rng(2)
    numbers = random.uniform(0.25, 0.5, 4000).astype("f4")
    bits = nearest(numbers, dtype)
    steps = abs(numbers.astype("f8") - values(bits, dtype)) * 2.0 ** (of.mantissa + 2)
    found = predicted_floats(bits, numbers.view("u4"), of).classes % 2
    inside = (bits & ((1 << of.mantissa) - 1) != 0) & (abs(steps - 0.25) > 2.0**-12)
    assert (found == (steps > 0.25))[inside].all() and 0.4 < found.mean() < 0.6


def nearest(numbers: np.ndarray, dtype: str) -> Bits:
    """The bits of numbers rounded to nearest, ties to even."""
    if dtype == "F16":
        return numbers.astype("f2").view("u2")
    bits = numbers.view("u4").astype("u8")
    found: Bits = (bits + 0x7FFF + (bits >> 16 & 1) >> 16).astype("u2")
    return found


def values(bits: Bits, dtype: str) -> np.ndarray:
    """The numbers of 16 bits, as float64."""
    if dtype == "F16":
        return bits.view("f2").astype("f8")
    return (bits.astype("u4") << 16).view("f4").astype("f8")
