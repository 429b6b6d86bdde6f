"""Runs: there and back for any bits, and any bytes a run or a `ContainerError`."""

from __future__ import annotations

import re
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsvd_registry.errors import ContainerError
from dsvd_registry.residual.ordered import FORMATS, Bits
from dsvd_registry.residual.predicted import TILE, predicted_floats
from dsvd_registry.residual.run import ELEMENTS, decode_run, most_bytes

from .bits import DTYPES, FILLS, content_of, numbers, predicted, random_bits, rounded, weights
from .kernel_sets import COMPILED, kernels

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def check(source: Bits, prediction: Bits, dtype: str) -> bytes:
    """Encoded and decoded it is the source; its size is within the bound of a frame."""
    of = FORMATS[dtype]
    content = content_of(source, prediction, dtype)
    assert len(content) <= most_bytes(len(source), of)
    found = decode_run(memoryview(content), predicted(prediction, dtype))
    assert found.dtype == of.unsigned and (found == source).all()
    return content


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, Bits, Bits]:
    dtype = draw(st.sampled_from(DTYPES))
    count = draw(st.integers(1, 64) | st.integers(2000, 70000))
    return dtype, draw(numbers(dtype, count)), draw(numbers(dtype, count))


@settings(max_examples=120, deadline=None, derandomize=True)
@given(pair=pairs())
def test_back(pair: tuple[str, Bits, Bits]) -> None:
    """Runs of all kinds of bits come back, over predictions of all kinds."""
    dtype, source, prediction = pair
    check(source, prediction, dtype)


@each_dtype
@pytest.mark.parametrize("source", FILLS)
def test_kinds(dtype: str, source: str) -> None:
    """Sources of each kind, over predictions of weights and of each kind."""
    random = np.random.default_rng(3)
    bits = FILLS[source](5000, dtype, random)
    for fill in FILLS.values():
        check(bits, fill(5000, dtype, random), dtype)


@each_dtype
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, TILE - 1, TILE, TILE + 1, 2 * TILE, 2 * TILE + 1])
def test_borders_of_tiles(dtype: str, count: int) -> None:
    random = np.random.default_rng(count)
    prediction = weights(count, dtype, random)
    source = prediction + random.integers(0, 5, count).astype(prediction.dtype)
    check(source, prediction, dtype)
    check(source, random_bits(count, dtype, random), dtype)


@each_dtype
@pytest.mark.parametrize("count", [ELEMENTS - 1, ELEMENTS])
def test_largest(dtype: str, count: int) -> None:
    random = np.random.default_rng(count)
    prediction = weights(count, dtype, random)
    source = prediction + random.integers(0, 3, count).astype(prediction.dtype)
    check(source, prediction, dtype)


@each_dtype
def test_nothing_lacks(dtype: str) -> None:
    """A prediction that is right takes an eighth of a byte an element, before zstd."""
    bits = weights(50000, dtype, np.random.default_rng(2))
    assert len(check(bits, bits, dtype)) < 50000 // 8 + 200


@each_dtype
def test_every_exponent(dtype: str) -> None:
    """Predictions of each exponent there is, so that there are as many groups as pay."""
    of, random = FORMATS[dtype], np.random.default_rng(4)
    exponents = np.repeat(np.arange(of.last_exponent + 1), 300)
    random.shuffle(exponents)
    prediction = (exponents << of.mantissa).astype(of.unsigned)
    far = random.integers(0, 1 << of.bits, len(prediction)) >> exponents % of.bits
    check(prediction ^ far.astype(of.unsigned), prediction, dtype)


def test_runs_of_the_same_bits_are_the_same_bytes() -> None:
    random = np.random.default_rng(6)
    prediction = weights(70000, "F32", random)
    source = rounded(prediction.view("f4") * 1.001, "F32")
    assert content_of(source, prediction, "F32") == content_of(source, prediction, "F32")


# Hostile bytes


@st.composite
def _hostile(draw: st.DrawFn) -> tuple[str, Bits, bytes]:
    """A dtype, a prediction, and bytes: random ones, or a run that was changed."""
    dtype = draw(st.sampled_from(DTYPES))
    count = draw(st.integers(1, 40))
    prediction = draw(numbers(dtype, count))
    if draw(st.booleans()):
        return dtype, prediction, draw(st.binary(max_size=200))
    content = bytearray(content_of(draw(numbers(dtype, count)), prediction, dtype))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content) - 1) | st.integers(0, min(12, len(content) - 1)))
        match draw(st.sampled_from(["set", "flip", "cut", "insert", "grow"])):
            case "set":
                content[at] = draw(st.integers(0, 255))
            case "flip":
                content[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[max(at, 1) :]
            case "insert":
                content.insert(at, draw(st.integers(0, 255)))
            case "grow":
                content += draw(st.binary(max_size=9))
    return dtype, prediction, bytes(content)


@settings(max_examples=700, deadline=None, derandomize=True)
@given(case=_hostile())
def test_any_bytes(case: tuple[str, Bits, bytes]) -> None:
    """Bits of as many numbers as were predicted, or `ContainerError`; no other exception.

    All kernels say the same.

    Seen to fail with an `IndexError` for an empty run, before that was looked at.
    """
    dtype, prediction, content = case
    before = prediction.copy()
    told = []
    for own in kernels(dtype).values():
        try:
            found = decode_run(memoryview(content), predicted(prediction, dtype), kernels=own)
        except ContainerError as error:
            told.append(str(error))
        else:
            assert found.dtype == FORMATS[dtype].unsigned and len(found) == len(prediction)
            told.append(str(found.tolist()))
    assert told == 3 * told[:1]
    assert (prediction == before).all()


@each_dtype
def test_random_groups(dtype: str) -> None:
    """Right groups, and bytes of the right number that say anything: what gets far in."""
    of, random = FORMATS[dtype], np.random.default_rng(8)
    prediction = random_bits(5, dtype, random)
    taken = 0
    for _ in range(3000):
        lasts = np.unique(random.integers(0, of.last_class, random.integers(0, 3)))
        groups = [
            (int(last), int(random.integers(0, of.bits)), int(random.integers(0, 5)))
            for last in (*lasts, of.last_class)
        ]
        most = int(random.choice([2, 4, 256]))
        body = random.integers(0, most, random.integers(1, 40)).astype(np.uint8).tobytes()
        content, guess = _forged(*groups, body=body), predicted(prediction, dtype)
        try:
            found = decode_run(content, guess)
        except ContainerError as error:
            with pytest.raises(ContainerError, match=re.escape(str(error))):
                decode_run(content, guess, kernels=COMPILED[dtype])
            continue
        assert (decode_run(content, guess, kernels=COMPILED[dtype]) == found).all()
        assert len(found) == len(prediction)
        taken += 1
    assert taken > 10


@each_dtype
def test_memory_of_hostile_bytes(dtype: str) -> None:
    """Memory depends on the predicted elements and the actual bytes, not on what these claim."""
    of = FORMATS[dtype]
    prediction = weights(1000, dtype, np.random.default_rng(9))
    contents = [bytes((255,)) * 800, bytes(_forged((of.last_class, of.bits - 1, 0))), b"\0" * 900]
    tracemalloc.start()
    try:
        for content in contents:
            with pytest.raises(ContainerError):
                decode_run(memoryview(content), predicted(prediction, dtype))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def _forged(*groups: tuple[int, int, int], body: bytes = b"") -> memoryview:
    return memoryview(
        bytes((len(groups) - 1,)) + b"".join(struct.pack("<HBB", *group) for group in groups) + body
    )


ONE = rounded(np.array([1.0]), "F16")
EXACT = predicted_floats(
    ONE, rounded(np.array([1.0]), "F32"), FORMATS["F16"]
)  # of exponent 15, class 30


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (memoryview(b""), "ends inside its groups"),
        (memoryview(b"\0"), "ends inside its groups"),
        (memoryview(b"\xff" + bytes(60)), "ends inside its groups"),
        (_forged((3, 0, 0), (3, 0, 0), (63, 0, 0), body=b"\0"), "not in order"),
        (_forged((3, 0, 0), (2, 0, 0), (63, 0, 0), body=b"\0"), "not in order"),
        (_forged((62, 0, 0), body=b"\0"), "do not have all classes"),
        (_forged((64, 0, 0), body=b"\0"), "do not have all classes"),
        (_forged((63, 16, 0), body=b"\0\0\0"), "that there is not"),
        (_forged((63, 0, 5), body=b"\0"), "that there is not"),
        (_forged((63, 0, 2), body=b"\xd8"), "is no digits"),
        (_forged((63, 0, 0), body=b"\x02"), "digits behind its end"),
        (_forged((63, 15, 4), body=b"\x02\0\0"), "larger than it can be"),
        (_forged((63, 3, 4), body=b"\0\x08"), "larger than it can be"),
        (_forged((63, 15, 0), body=b"\x01\0\0\x01\0"), "too large"),
        (_forged((63, 0, 0)), "cut short"),
        (_forged((63, 3, 4), body=b"\0"), "cut short"),
        (_forged((63, 0, 0), body=b"\x01\0"), "cut short"),
        (_forged((63, 0, 0), body=b"\0\0"), "followed by something else"),
    ],
)
def test_refused(content: memoryview, message: str) -> None:
    """Each rule of the text on runs, by name; seen to fail with each check taken out."""
    right = _forged((63, 0, 0), body=b"\0")
    for own in kernels("F16").values():
        with pytest.raises(ContainerError, match=message):
            decode_run(content, EXACT, kernels=own)
        assert decode_run(right, EXACT, kernels=own).tolist() == ONE.tolist()
