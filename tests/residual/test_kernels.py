"""Kernels: all give the bytes that numpy's give, and round as IEEE 754 does."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from dsvd_registry.codec.weights import Weights
from dsvd_registry.residual import compiled
from dsvd_registry.residual.compiled import LEAST_ELEMENTS, kernels_for
from dsvd_registry.residual.loops import BLOCK
from dsvd_registry.residual.numpy_kernels import NUMPY
from dsvd_registry.residual.ordered import FORMATS, Bits
from dsvd_registry.residual.predicted import predicted_floats
from dsvd_registry.residual.run import decode_run, encode_run

from .bits import DTYPES, FILLS, predicted, random_bits, weights
from .kernel_sets import COMPILED, kernels

each_dtype = pytest.mark.parametrize("dtype", DTYPES)


def _same(source: Bits, prediction: Bits, dtype: str, names: tuple[str, ...]) -> None:
    guess = predicted(prediction, dtype)
    runs = encode_run(source, guess)
    content = memoryview(b"".join(run.data for run in runs))
    for name in names:
        own = kernels(dtype)[name]
        assert encode_run(source, guess, own) == runs
        out = np.zeros_like(source)
        decode_run(content, guess, out, own)
        assert (out == source).all()


@each_dtype
@pytest.mark.parametrize("source", FILLS)
def test_kinds(dtype: str, source: str) -> None:
    """Sources and predictions of each kind, compiled and interpreted."""
    random = np.random.default_rng(5)
    for fill in FILLS.values():
        bits, prediction = FILLS[source](70001, dtype, random), fill(70001, dtype, random)
        _same(bits, prediction, dtype, ("compiled",))
        _same(bits[:33], prediction[:33], dtype, ("loops",))


@each_dtype
@pytest.mark.parametrize("count", [1, 2, 7, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 1])
def test_borders_of_blocks(dtype: str, count: int) -> None:
    random = np.random.default_rng(count)
    prediction = weights(count, dtype, random)
    near = prediction + random.integers(0, 5, count).astype(prediction.dtype)
    names = ("compiled", "loops") if count <= BLOCK + 1 else ("compiled",)
    _same(near, prediction, dtype, names)
    _same(random_bits(count, dtype, random), prediction, dtype, names)


@each_dtype
def test_every_exponent(dtype: str) -> None:
    """The most groups that there can be, and differences of all sizes: each shift, and overflow."""
    of, random = FORMATS[dtype], np.random.default_rng(4)
    exponents = np.repeat(np.arange(of.last_exponent + 1), 2100)
    random.shuffle(exponents)
    prediction = (exponents << of.mantissa).astype(of.unsigned)
    far = random.integers(0, 1 << of.bits, len(prediction)) >> exponents % of.bits
    _same(prediction ^ far.astype(of.unsigned), prediction, dtype, ("compiled",))


def _singles(random: np.random.Generator) -> np.ndarray:
    """Float32 numbers of every exponent and sign, and those near all borders of fewer bits."""
    bits = random.integers(0, 1 << 32, 300000, np.uint64).astype(np.uint32)
    halves = np.arange(0, 1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
    near = halves.view(np.uint32)[:, None] + np.array([0, 0xFFF, 0x1000, 0x1001], np.uint32)
    coarse = (np.arange(1 << 16, dtype=np.uint32) << 16)[:, None] + np.array(
        [0, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32
    )
    small = (np.arange(2050, dtype=np.float32) / 2 * np.float32(2.0**-24)).view(np.uint32)
    limits = np.array([65519.996, 65520.0, 65504.0, 3.4e38, 1e-45], np.float32).view(np.uint32)
    positive = np.concatenate([bits, near.ravel(), coarse.ravel(), small, limits])
    return np.concatenate([positive, positive | np.uint32(1 << 31)]).view(np.float32)


@pytest.mark.parametrize("name", ["numpy", "loops", "compiled"])
@each_dtype
def test_rounded(name: str, dtype: str) -> None:
    """Rounding against torch's; a NaN and an infinity stay what they are. Classes as of numpy."""
    numbers, of = _singles(np.random.default_rng(6)), FORMATS[dtype]
    if name == "loops":
        numbers = numbers[np.random.default_rng(7).integers(0, len(numbers), 5000)]
    words = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}[dtype]
    truth = torch.from_numpy(numbers.copy()).to(words)
    nans = torch.isnan(truth).numpy()
    signed = {4: torch.int32, 2: torch.int16}[of.width]
    with np.errstate(all="ignore"):
        found = kernels(dtype)[name].rounded(Weights(numbers, "F32"), of)
    bits = truth.view(signed).numpy().view(of.unsigned)
    assert (found.bits == bits)[~nans].all()
    assert np.isnan(_values(found.bits, dtype)[nans]).all()
    expected = predicted_floats(found.bits.copy(), numbers.view(np.uint32), of)
    assert (found.classes == expected.classes).all()
    assert (found.up is None) == (expected.up is None)
    if found.up is not None and expected.up is not None:
        assert (found.up == expected.up).all()


def _values(bits: Bits, dtype: str) -> np.ndarray:
    if dtype == "BF16":
        return (bits.astype(np.uint32) << 16).view(np.float32)
    return bits.view(np.float16 if dtype == "F16" else np.float32)


def test_which_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled ones for many floats, and for few once they are made; numpy's otherwise."""
    assert kernels_for("I8", LEAST_ELEMENTS) is NUMPY
    assert kernels_for("F16", 1) is COMPILED["F16"]
    monkeypatch.setattr(compiled, "_made", {})
    assert kernels_for("F16", LEAST_ELEMENTS - 1) is NUMPY
    monkeypatch.setitem(sys.modules, "numba", None)  # as if it were not installed
    compiled._compiled.cache_clear()
    assert kernels_for("F16", LEAST_ELEMENTS) is NUMPY
