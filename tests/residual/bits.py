"""Bits to test with: random ones, and those of numbers that are out of the ordinary."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from hypothesis import strategies as st

from dsvd_registry.container.frames import decompress
from dsvd_registry.residual.ordered import FORMATS, Bits
from dsvd_registry.residual.predicted import Predicted, predicted_floats
from dsvd_registry.residual.run import encode_run
from dsvd_registry.residual.writer import run_frame

DTYPES = tuple(FORMATS)
Fill = Callable[[int, str, np.random.Generator], Bits]


def random_bits(count: int, dtype: str, random: np.random.Generator) -> Bits:
    of = FORMATS[dtype]
    found: Bits = random.integers(0, 1 << of.bits, count, np.uint64).astype(of.unsigned)
    return found


def weights(count: int, dtype: str, random: np.random.Generator) -> Bits:
    """Weights of a normal distribution, like those of a model."""
    return rounded(random.normal(0, 0.02, count), dtype)


def rounded(values: np.ndarray, dtype: str) -> Bits:
    """The bits of `values`; the mantissa of BF16 is cut off."""
    single = np.asarray(values, "f4")
    if dtype == "F16":
        return single.astype("f2").view("u2")
    bits: Bits = single.view("u4")
    return bits if dtype == "F32" else (bits >> 16).astype("u2")


def _every(*values: float) -> Fill:
    def fill(count: int, dtype: str, random: np.random.Generator) -> Bits:
        return rounded(np.resize(np.array(values), count), dtype)

    return fill


def nans(count: int, dtype: str, random: np.random.Generator) -> Bits:
    """NaNs of all payloads and both signs."""
    of = FORMATS[dtype]
    exponent = of.last_exponent << of.mantissa
    quiet = 1 << (of.mantissa - 1)
    return random_bits(count, dtype, random) | of.unsigned.type(exponent | quiet)


def denormals(count: int, dtype: str, random: np.random.Generator) -> Bits:
    of = FORMATS[dtype]
    sign_and_mantissa = (1 << (of.bits - 1)) | ((1 << of.mantissa) - 1)
    return random_bits(count, dtype, random) & of.unsigned.type(sign_and_mantissa)


# Sources, and predictions, that a coder may stumble over.
FILLS: dict[str, Fill] = {
    "random": random_bits,
    "weights": weights,
    "nans": nans,
    "infinities": _every(np.inf, -np.inf),
    "denormals": denormals,
    "constant": _every(0.3125),
    "zeros": _every(0.0),
    "negative zeros": _every(-0.0),
    "both zeros": _every(-0.0, 0.0, 0.0),
    "ends": _every(np.inf, -np.inf, 0.0, -0.0, 1.0, -65504.0),
}


def numbers(dtype: str, count: int) -> st.SearchStrategy[Bits]:
    """Flat bits, of one kind or another."""
    seeds = st.integers(0, 2**32 - 1)
    own = st.lists(
        st.integers(0, (1 << FORMATS[dtype].bits) - 1), min_size=count, max_size=count
    ).map(lambda bits: np.array(bits, FORMATS[dtype].unsigned))
    made = st.tuples(st.sampled_from(sorted(FILLS)), seeds).map(
        lambda told: FILLS[told[0]](count, dtype, np.random.default_rng(told[1]))
    )
    return made | own if count <= 64 else made


def predicted(bits: Bits, dtype: str) -> Predicted:
    """A prediction of these bits, as if rounded from numbers that lie anywhere around them."""
    around = random_bits(len(bits), "F32", np.random.default_rng(len(bits)))
    return predicted_floats(bits, around, FORMATS[dtype])


def content_of(source: Bits, prediction: Bits, dtype: str) -> bytes:
    """The content of a run's frame."""
    frame = run_frame(encode_run(source.copy(), predicted(prediction, dtype)))
    return decompress(frame.data, frame.raw, "a run")
