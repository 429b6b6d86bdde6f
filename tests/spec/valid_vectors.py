"""The valid golden containers, each a function that says in its first line what it is for.

Every number is chosen by hand. These are the files of format version 1 and are FROZEN: a change
here that changes a committed file is a change of the format.
"""

from __future__ import annotations

import json
import math
import struct
import sys
from collections.abc import Callable, Sequence
from itertools import product

from dsvd_registry.checkpoint.tensor_info import BITS
from dsvd_registry.container.records import (
    RAW_REASONS,
    LayerRule,
    MergedVersion,
    MergeRecipe,
    Omission,
    View,
)

from .building import Recipe, file_header
from .exact import Component, encoded

DELTA = ("F32", "F16", "BF16")
SIX = (1.0, -2.5, 0.0, -0.0, 0.15625, -96.0)  # all three dtypes have them exactly

VALID: dict[str, tuple[Callable[[], Recipe], tuple[float, ...]]] = {}


def vector(*taus: float) -> Callable[[Callable[[], Recipe]], Callable[[], Recipe]]:
    """`taus`: lower ones (or ones that are not served) whose result is to be told."""

    def keep(make: Callable[[], Recipe]) -> Callable[[], Recipe]:
        VALID[make.__name__.replace("_", "-")] = make, taus
        return make

    return keep


def two(e: int = -9) -> list[Component]:
    """Two components of a (3, 2) matrix."""
    return [
        Component(e, (3, -4, 0), (5, 1), 2.0),
        Component(e - 2, (-1, 2, 7), (1, -3), 0.5),
    ]


@vector()
def annotated() -> Recipe:
    """The file that the text shows byte by byte: two tensors, one component."""
    recipe = Recipe()
    base = recipe.hold("w", "F32", (2, 2), encoded((1.0, 2.0, 3.0, 4.0), "F32"))
    recipe.low_rank(
        "w", "F32", (2, 2), [base], [Component(-3, (2, -1), (1, 9), 0.75)],
        nuclear_norm=1.0, base_norm=5.5, norm=2.5, error=0.125,
    )  # fmt: skip
    recipe.raw("b", "U8", (1,), b"\7")
    return recipe


@vector(0.25)
def small() -> Recipe:
    """One tensor of each kind, one of them with new rows; most invalid vectors are made from it."""
    recipe = Recipe(0.75)
    base = recipe.hold("low", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.low_rank("low", "F16", (3, 2), [base], two())
    base = recipe.hold("dense", "F16", (6,), encoded(SIX, "F16"))
    recipe.dense("dense", "F32", (6,), [base], -12, (1, 0, -130, 0, 4, 129))
    base = recipe.hold("rows", "U8", (2, 2), b"abcd")
    recipe.same("rows", "U8", (3, 2), [base], new=(1, b"ef"))
    recipe.raw("raw", "I16", (2,), b"\1\2\3\4")
    recipe.hold("not finite", "F32", (3, 2), encoded((1.0, math.inf, 2.0, 3.0, 4.0, 5.0), "F32"))
    recipe.hold("not a number", "F32", (3, 2), encoded((1.0, math.nan, 2.0, 3.0, 4.0, 5.0), "F32"))
    return recipe


@vector()
def same_dtypes() -> Recipe:
    """`same` between all delta dtypes: casts with subnormal numbers, ties, overflow to infinity."""
    recipe = Recipe()
    values = {
        "F32": (65519.0, 65520.0, -1e30, 3.4e38, 1.00048828125, 1.00390625, 3e-8, -1e-40, -0.0),
        "F16": (65504.0, 6e-8, -6e-8, math.inf, -math.inf, 1.0009765625, 0.1, -0.0, 0.0),
        "BF16": (3.38e38, 9.2e-41, -1e-5, math.inf, -math.inf, 65536.0, 1e-7, -0.0, 0.0),
    }
    for source, dtype in product(DELTA, DELTA):
        data = encoded(values[source], "F32")
        data = data if source == "F32" else _nearest(values[source], source)
        base = recipe.hold(f"base.{source}", source, (9,), data)
        recipe.same(f"{source}.to.{dtype}", dtype, (3, 3), [base])
    return recipe


def _nearest(values: Sequence[float], dtype: str) -> bytes:
    """For values that `dtype` has not exactly."""
    if dtype == "F16":
        return struct.pack(f"<{len(values)}e", *values)
    return b"".join(struct.pack("<f", value)[2:] for value in values)


@vector()
def same_bits() -> Recipe:
    """`same` without a cast keeps every bit: NaN payloads, infinities, -0.0."""
    recipe = Recipe()
    for dtype, bits in (
        ("F32", bytes.fromhex("0100807f ffffffff 000080ff 00000080 01000000 5634c27f")),
        ("F16", bytes.fromhex("017c ffff 00fc 0080 0100 347e")),
        ("BF16", bytes.fromhex("817f ffff 80ff 0080 0100 c47f")),
    ):
        base = recipe.hold(dtype, dtype, (2, 3), bits)
        recipe.same(f"{dtype}.reshape", dtype, (3, 2), [base])
        recipe.same(f"{dtype}.transpose", dtype, (3, 2), [base], View("transpose"))
    return recipe


@vector()
def same_odd_dtypes() -> Recipe:
    """`same` of dtypes that take no delta, through every view, and with new rows."""
    recipe = Recipe()
    for dtype, size in (("I64", 8), ("C64", 8), ("U32", 4), ("I16", 2), ("BOOL", 1)):
        data = bytes(i % 2 if dtype == "BOOL" else i for i in range(6 * size))
        base = recipe.hold(dtype, dtype, (3, 2), data)
        other = recipe.hold(f"{dtype}.2", dtype, (1, 2), data[-2 * size :])
        recipe.same(f"{dtype}.reshape", dtype, (6,), [base])
        recipe.same(f"{dtype}.transpose", dtype, (2, 3), [base], View("transpose"))
        recipe.same(f"{dtype}.slice", dtype, (2, 2), [base], View("slice", 1, 2))
        recipe.same(f"{dtype}.roll", dtype, (2, 3), [base], View("roll", 2))
        recipe.same(f"{dtype}.concatenate", dtype, (8,), [base, other], View("concatenate"))
        new = 1, data[: 2 * size]
        recipe.same(f"{dtype}.new", dtype, (4, 2), [base], new=new)
    base = recipe.hold("F8", "F8_E4M3", (2, 2), b"\x7f\xff\x80\x00")
    recipe.same("F8", "F8_E4M3", (4,), [base])
    return recipe


@vector()
def same_less_than_a_byte() -> Recipe:
    """`same` of dtypes whose elements are less than a byte, also with new rows."""
    recipe = Recipe()
    base = recipe.hold("F4", "F4", (2, 3), b"\x12\x34\x56")
    recipe.same("F4", "F4", (6,), [base])
    recipe.same("F4.new", "F4", (4, 3), [base], new=(2, b"\x78\x9a\xbc"))
    base = recipe.hold("F6", "F6_E3M2", (4,), b"\x12\x34\x56")
    recipe.same("F6", "F6_E3M2", (2, 2), [base])
    return recipe


@vector(0.5, 0.25)
def low_rank_dtypes() -> Recipe:
    """`low_rank` between all delta dtypes, over base values of both signs and both zeros."""
    recipe = Recipe(0.75)
    for source, dtype in product(DELTA, DELTA):
        base = recipe.hold(f"base.{source}", source, (3, 2), encoded(SIX, source))
        recipe.low_rank(f"{source}.to.{dtype}", dtype, (3, 2), [base], two())
    return recipe


@vector()
def dense_dtypes() -> Recipe:
    """`dense` between all delta dtypes, over base values of both signs and both zeros."""
    recipe = Recipe()
    for source, dtype in product(DELTA, DELTA):
        base = recipe.hold(f"base.{source}", source, (6,), encoded(SIX, source))
        recipe.dense(f"{source}.to.{dtype}", dtype, (6,), [base], -10, (1, 40, 0, 0, -7, -1))
    return recipe


@vector()
def negative_zero() -> Recipe:
    """Rank 1 over -0.0: a delta of zero is +0.0, whatever signs its factors have."""
    recipe = Recipe()
    for dtype in DELTA:
        base = recipe.hold(dtype, dtype, (3, 3), encoded((-0.0,) * 9, dtype))
        one = Component(-3, (0, -1, 2), (-5, 0, 1), 1.0)
        recipe.low_rank(f"low.{dtype}", dtype, (3, 3), [base], [one])
        recipe.dense(f"dense.{dtype}", dtype, (9,), [base], -3, (0, 0, -1, 0, 1, 0, 0, 0, 0))
        # Two components that cancel each other, and -1 + 1.
        pair = [Component(-3, (1, -1, 2), (3, 0, 1), 1.0), Component(-3, (-1, 1, -2), (3, 0, 1), 1)]
        recipe.low_rank(f"cancel.{dtype}", dtype, (3, 3), [base], pair)
        base = recipe.hold(f"ones.{dtype}", dtype, (3,), encoded((-1.0, 1.0, -0.5), dtype))
        recipe.dense(f"ones.{dtype}", dtype, (3,), [base], -1, (2, -2, 1))
    return recipe


@vector()
def subnormal() -> Recipe:
    """Results below the normal range of each dtype, sums that round to a zero of either sign."""
    recipe = Recipe()
    tiny = {"F32": -149, "F16": -24, "BF16": -133}
    for dtype, least in tiny.items():
        values = [k * 2.0**least for k in (1, -1, 3, -3, 0, 5)]
        base = recipe.hold(dtype, dtype, (3, 2), encoded(values, dtype))
        exponent = max(least - 2, -126)
        recipe.dense(f"dense.{dtype}", dtype, (6,), [base], exponent, (1, -1, 2, -2, 3, -6))
        one = [Component(exponent, (1, -2, 3), (1, -1), 1.0)]
        recipe.low_rank(f"low.{dtype}", dtype, (3, 2), [base], one)
    # A half of the least number and less than it: to zero, with the sum's sign.
    wide = recipe.hold("wide", "F32", (3, 2), encoded((0.0,) * 6, "F32"))
    recipe.dense("zero", "F16", (6,), [wide], -26, (1, -1, 2, -2, 3, -3))
    least = recipe.hold("least", "F32", (2,), encoded((2.0**-149, -(2.0**-149)), "F32"))
    recipe.same("least", "F16", (2,), [least])
    return recipe


@vector()
def near_overflow() -> Recipe:
    """Results that stay just below infinity, and a delta as large as binary32 itself."""
    recipe = Recipe()
    top = {"F32": (2 - 2.0**-23) * 2.0**127, "F16": 65504.0, "BF16": (2 - 2.0**-7) * 2.0**127}
    half = {"F32": 103, "F16": 4, "BF16": 119}  # 2^this makes the largest number an infinity
    for dtype, largest in top.items():
        base = recipe.hold(dtype, dtype, (2, 2), encoded((largest, -largest, 0.0, 1.0), dtype))
        below = half[dtype] - 10  # 1023 of these units are less than that
        recipe.dense(f"dense.{dtype}", dtype, (4,), [base], below, (1023, -1023, 1, 0))
        one = [Component(below, (1, 0), (1023, -1023), 1.0)]
        recipe.low_rank(f"low.{dtype}", dtype, (2, 2), [base], one)
    base = recipe.hold("large", "F32", (2, 1), encoded((-(2.0**127), 2.0**126), "F32"))
    recipe.low_rank("large", "F32", (2, 1), [base], [Component(100, (2**24 - 1, 1), (2,), 1e38)])
    return recipe


@vector()
def double_rounding() -> Recipe:
    """The three roundings one after another: other bits than one rounding to the result's dtype."""
    recipe = Recipe()
    # A little over a tie of the 16-bit dtype, which binary32 rounds onto the tie.
    for dtype, tie in (("F16", 1 + 2.0**-11), ("BF16", 1 + 2.0**-8)):
        base = recipe.hold(f"tie.{dtype}", "F32", (2, 1), encoded((tie, -tie), "F32"))
        recipe.dense(f"dense.{dtype}", dtype, (2,), [base], -40, (1, -1))
        recipe.low_rank(f"low.{dtype}", dtype, (2, 1), [base], [Component(-40, (1, -1), (1,), 1)])
    # A little over a tie of binary32, which binary64 rounds onto the tie.
    base = recipe.hold("tie.F32", "F32", (1, 2), encoded((2.0**40, -(2.0**40)), "F32"))
    assert 1403005 * 50155733 == 2**46 + 1
    steps = [Component(-30, (1403005,), (50155733, -50155733), 1.0)]
    recipe.low_rank("low.F32", "F32", (1, 2), [base], steps)
    base = recipe.hold("one", "F32", (2,), encoded((1 + 2.0**-23, 1.0), "F32"))
    recipe.dense("dense.F32", "F32", (2,), [base], -80, (2**30 + 1, -(2**30) - 1))
    return recipe


@vector()
def widths() -> Recipe:
    """Integers of 1 to 4 bytes at the borders between widths, widths mixed within one part."""
    recipe = Recipe()
    maxima = (1, 127, 128, 32767, 32768, 2**23 - 1, 2**23, 2**31 - 1)
    zero = recipe.hold("zeros", "F32", (4,), encoded((0.0,) * 4, "F32"))
    for maximum in maxima:
        values = (maximum, -maximum, maximum // 2, 0)
        recipe.dense(f"dense.{maximum:010d}", "F32", (4,), [zero], -31, values)
    base = recipe.hold("ones", "F32", (4, 4), encoded((1.0,) * 16, "F32"))
    sides = ((2**23, 1), (1, 2**23), (32768, 128), (127, 32767))
    components = [
        Component(-40 - i, (a, -1, 0, 1), (0, 1, -b, b // 2), 4.0 - i)
        for i, (a, b) in enumerate(sides)
    ]
    recipe.low_rank("low", "F32", (4, 4), [base], components)
    long = Component(-62, (2**31 - 1, 0, -5, -(2**31 - 1)), (-1, 0, 3, 2), 1.0)
    recipe.low_rank("low.4", "F32", (4, 4), [base], [long])
    return recipe


@vector()
def exponents() -> Recipe:
    """Components of different exponents: products for binary32, for binary64, and M = 2^53 - 1."""
    recipe = Recipe()
    base = recipe.hold("base", "F32", (2, 3), encoded(SIX, "F32"))
    # M is below 2^24.
    simple = [Component(-12, (100, -3), (50, 7, -9), 3), Component(-3, (1, 2), (3, 0, -1), 1)]
    recipe.low_rank("a.simple", "F32", (2, 3), [base], simple)
    # M is above 2^24, no row's sum is: 5000 * 3000 + 5000 * 3000 in different rows.
    rows = [Component(-30, (5000, 0), (3000, 1, 0), 3), Component(-30, (0, 5000), (0, 1, 3000), 3)]
    recipe.low_rank("b.rows", "F32", (2, 3), [base], rows)
    wide = [Component(-50, (1, 3), (5, -7, 1), 3), Component(-20, (900, -1), (1000, 3, 1), 3)]
    recipe.low_rank("c.wide", "F16", (2, 3), [base], wide)
    limit = [Component(-60, (20394401, -1), (441650591, 0, -441650591), 1)]
    assert 20394401 * 441650591 == 2**53 - 1
    recipe.low_rank("d.limit", "F32", (2, 3), [base], limit)
    ends = [Component(-126, (1, -1), (1, 1, 0), 1), Component(-75, (1, 1), (0, 2, 1), 1)]
    recipe.low_rank("e.ends", "F32", (2, 3), [base], ends)
    high = [Component(50, (2**22, 1), (2**30, 1, 0), 1)]
    large = recipe.hold("large", "F32", (2, 3), encoded((2.0**120, *SIX[1:]), "F32"))
    recipe.low_rank("f.high", "F32", (2, 3), [large], high)
    return recipe


@vector(0.5, 0.125)
def views() -> Recipe:
    """`low_rank` and `dense` over every view, with and without new rows, of three dimensions too."""
    recipe = Recipe(0.75)
    data = encoded((*SIX, 3.0, -4.0, 0.5, 7.0, -0.25, 8.0), "F16")
    base = recipe.hold("called otherwise", "F16", (4, 3), data)
    more = recipe.hold("more", "F16", (1, 3), data[:6])
    cube = recipe.hold("cube", "F16", (3, 1, 2, 2), data)
    new = 2, encoded((9.0, -9.0, 0.0, -0.0, math.inf, 1.0, 2.0, 3.0), "F16")
    cases = (
        ("reshape", [base], (3, 4), View()),
        ("cube", [cube], (3, 2, 2), View()),
        ("transpose", [base], (3, 4), View("transpose")),
        ("slice", [base], (2, 3), View("slice", 2, 2)),
        ("slice.first", [base], (1, 3), View("slice", 0, 1)),
        ("concatenate", [base, more, more], (6, 3), View("concatenate")),
        ("roll", [base], (4, 3), View("roll", 3)),
        ("roll.cube", [cube], (3, 4), View("roll", 1)),
    )
    for name, held, shape, view in cases:
        m, n = shape[0], math.prod(shape[1:])
        components = [
            Component(-8, tuple(range(1, m + 1)), tuple(range(-1, n - 1)), 4.0),
            Component(-9, tuple(range(-m, 0)), tuple(range(3, n + 3)), 1.0),
        ][: min(m, n)]
        values = [7 * k % 11 - 5 for k in range(m * n)]
        recipe.low_rank(f"low.{name}", "F16", shape, held, components, view)
        recipe.dense(f"dense.{name}", "F16", shape, held, -7, values, view)
        if n == 4:
            longer = m + 2, *shape[1:]
            recipe.low_rank(f"low.{name}.new", "F16", longer, held, components, view, new)
            recipe.dense(f"dense.{name}.new", "F16", longer, held, -7, values, view, new)
            recipe.same(f"same.{name}.new", "F16", longer, held, view, new)
    return recipe


@vector()
def raw() -> Recipe:
    """`raw` of every dtype and for every reason but one, also of no element and of a scalar."""
    recipe = Recipe()
    reasons = tuple(reason for reason in RAW_REASONS if reason != "constant")
    for i, dtype in enumerate(BITS):
        size = 4 * BITS[dtype] // 8  # of four elements
        data = bytes(k % 2 if BITS[dtype] == 8 else k for k in range(size))
        recipe.raw(dtype, dtype, (2, 2), data, reasons[i % len(reasons)])
    recipe.raw("scalar", "F64", (), struct.pack("<d", math.pi), "dtype")
    recipe.raw("nothing", "F32", (0, 3), b"", "smaller")
    recipe.raw("nothing.F4", "F4", (3, 0), b"", "new")
    return recipe


@vector()
def raw_constant() -> Recipe:
    """`raw` for the reason `constant`: a tensor that the base has, with other values."""
    recipe = Recipe()
    recipe.hold("betas", "F32", (4,), encoded((0.25, 0.5, 0.75, 1.0), "F32"))
    recipe.raw("betas", "F32", (4,), encoded((0.125, 0.375, 0.5, 0.625), "F32"), "constant")
    recipe.raw("ids", "F16", (1, 3), encoded((0.0, 1.0, 2.0), "F16"), "constant")
    return recipe


@vector()
def empty_and_scalar() -> Recipe:
    """Tensors of no element, of one, and of 32 dimensions, by every kind that takes them."""
    recipe = Recipe()
    none = recipe.hold("none", "F16", (0, 2), b"")
    recipe.hold("none.F32", "F32", (0, 2), b"")  # for an invalid vector
    recipe.same("none", "F32", (2, 0), [none])
    recipe.same("none.transpose", "F16", (2, 0), [none], View("transpose"))
    recipe.same("none.concatenate", "F16", (7, 0), [none, none], View("concatenate"))
    recipe.same("none.new", "F16", (5, 0), [none], new=(2, b""))
    wide = recipe.hold("wide", "U8", (3, 0), b"")
    recipe.same("none.slice", "U8", (0, 2**49 - 1), [wide], View("slice", 1, 2))
    recipe.same("none.roll", "U8", (3, 0), [wide], View("roll", 1))
    one = recipe.hold("one", "F32", (), encoded((1.5,), "F32"))
    recipe.same("one.same", "BF16", (), [one])
    recipe.dense("one.dense", "F32", (), [one], -4, (-1,))
    recipe.low_rank("one.low", "F32", (1, 1), [one], [Component(-2, (1,), (-1,), 1.0)])
    many = recipe.hold("many", "F32", (1,) * 31 + (2,), encoded((1.0, -1.0), "F32"))
    recipe.same("many.same", "F16", (2,) + (1,) * 31, [many])
    pair = [Component(-3, (1, 5), (3,), 1.0)]
    recipe.low_rank("many.low", "F16", (2,) + (1,) * 31, [many], pair)
    recipe.dense("many.dense", "F16", (1,) * 32, [one], -3, (3,))
    return recipe


@vector()
def no_tensor() -> Recipe:
    """A result without a tensor, from a source that held other things only."""
    recipe = Recipe(source_format="pickle")
    recipe.left_out = (Omission("optimizer", "not a tensor"), Omission("a\\u00e9\n", "\U0001f600"))
    return recipe


@vector()
def names() -> Recipe:
    """Names that JSON escapes, whose order by UTF-8 is not that by UTF-16; sorted by dtype's bits."""
    recipe = Recipe(source_format="pickle")
    recipe.base_name = 'a "base"\\ of é'
    held = recipe.hold("\ue000 in the base", "F32", (2,), encoded((1.0, 2.0), "F32"))
    for i, name in enumerate(
        ('"\\', "\x01\x1f\x7f\b\t\n\f\r/", "é", "\uffff", "\U0001f600", "a.b")
    ):
        dtype = ("F16", "F32", "BF16")[i % 3]
        recipe.same(name, dtype, (2,), [held])
    recipe.raw("U8", "U8", (1,), b"a")
    recipe.raw("F64", "F64", (1,), bytes(8))
    recipe.raw("x" * 4096, "U8", (1,), b"b")
    return recipe


def source_header(*, lossy: bool) -> bytes:
    """Entries in another order than their data, and white space that JSON allows."""
    metadata = {
        "title": 'é "quoted" \x7f\n\U0001f600',
        "modelspec.hash_sha256": "0x12",
        "zz": "",
        "sshs_model_hash": "34",
        "dsvd.tau": "0.3",
        "sshs_legacy_hash": "56",
        "dsvd.anything": "at all",
        "format": "pt",
    }
    first = "dense" if lossy else "copy"
    entries = {
        "raw": {"shape": [3], "dtype": "U8", "data_offsets": [24, 27]},
        "__metadata__": metadata,
        first: {"data_offsets": [0, 24], "dtype": "F32", "shape": [6]},
        "nothing": {"dtype": "I64", "shape": [0], "data_offsets": [24, 24]},
    }
    return json.dumps(entries, indent=1).replace("\n", "\r\n\t").encode() + b"  \t"


@vector(0.25)
def source_again() -> Recipe:
    """With a source header and nothing but `same` and `raw`: the source file to the byte."""
    recipe = Recipe()
    base = recipe.hold("copy", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.same("copy", "F32", (6,), [base])
    recipe.raw("raw", "U8", (3,), b"xyz")
    recipe.raw("nothing", "I64", (0,), b"")
    recipe.source_header = source_header(lossy=False)
    return recipe


@vector(0.25)
def loose_source_again() -> Recipe:
    """White space before the source header, and null metadata, to the byte."""
    recipe = source_again()
    recipe.source_header = b" \t\r\n" + loose_header(lossy=False)
    return recipe


@vector(0.25)
def loose_source_lossy() -> Recipe:
    """Null metadata in the source header, and a delta; the result's header has neither."""
    recipe = source_lossy()
    recipe.source_header = loose_header(lossy=True)
    return recipe


@vector(0.25)
def loose_white_space() -> Recipe:
    """White space before a source header with metadata, and a delta."""
    recipe = source_lossy()
    recipe.source_header = b" " + source_header(lossy=True)
    return recipe


def loose_header(*, lossy: bool) -> bytes:
    document = json.loads(source_header(lossy=lossy))
    return json.dumps(document | {"__metadata__": None}).encode()


@vector(0.25)
def source_lossy() -> Recipe:
    """With a source header and a delta: its order and metadata, less what would lie, and our own."""
    recipe = Recipe(1.0)
    base = recipe.hold("dense", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.dense("dense", "F32", (6,), [base], -10, (1, 40, 0, 0, -7, -1))
    recipe.raw("raw", "U8", (3,), b"xyz")
    recipe.raw("nothing", "I64", (0,), b"")
    recipe.source_header = source_header(lossy=True)
    return recipe


@vector(0.5, 0.125, 1e-05)
def many_frames() -> Recipe:
    """Several parts and frames of one tensor, several tensors in one frame."""
    recipe = Recipe(0.9)
    data = encoded([k / 8 for k in range(-10, 10)], "F32")
    for name in ("a", "b"):
        base = recipe.hold(name, "F32", (4, 5), data)
        components = [
            Component(-8 - k, (100 * k + 1, -2, k, 0), (k, 3, -4, 200 - k, 1), 8.0 / (k + 1))
            for k in range(4)
        ]
        recipe.low_rank(
            name, "F32", (4, 5), [base], components,
            tables=((1, 0), (1, 0), (2, 1)), runs=((1, 0), (1, 1), (1, 1), (1, 2)),
        )  # fmt: skip
        values = [300 - 30 * k for k in range(20)]
        recipe.dense(
            f"{name}.dense", "F16", (20,), [base], -11, values, runs=((7, 0), (3, 0), (10, 1))
        )
        recipe.raw(f"{name}.raw", "U8", (9,), b"123456789", runs=((2, 0), (3, 1), (4, 1)))
    return recipe


@vector(0.74, 0.5, 0.25, 0.75, 0.2)
def borders_of_tau() -> Recipe:
    """A rank that changes exactly where a sum is x times the nuclear norm; rank above tau_rank."""
    recipe = Recipe(0.8)
    base = recipe.hold("base", "F32", (4, 4), encoded((1.0,) * 16, "F32"))
    components = [
        Component(-6 - k, (3, 1, -k, 2), (k + 1, -1, 5, 0), s)
        for k, s in enumerate((4.0, 4.0, 4.0, 2.0))
    ]
    recipe.low_rank("w", "F32", (4, 4), [base], components, nuclear_norm=16.0)
    recipe.low_rank("more", "F32", (4, 4), [base], components, nuclear_norm=16.0, tau_rank=2)
    return recipe


@vector(0.9, 0.5, 0.1)
def capped_at_the_noise() -> Recipe:
    """Fewer components than tau takes, as the others are noise: every x is served."""
    recipe = Recipe(1.0)
    base = recipe.hold("base", "BF16", (3, 3), encoded((1.0,) * 9, "BF16"))
    components = [
        Component(-6, (3, 1, -2), (1, -1, 5), 4.0),
        Component(-7, (1, 1, 1), (2, 0, 1), 2),
    ]
    recipe.low_rank(
        "w", "BF16", (3, 3), [base], components, nuclear_norm=8.0, tau_rank=3, noise_rank=2
    )
    return recipe


@vector(0.76, 0.75, 0.5, 0.9, 0.95, 1.0)
def fewer_than_tau() -> Recipe:
    """Fewer components than tau takes, though they are no noise: some x are not served."""
    recipe = Recipe(0.9)
    base = recipe.hold("base", "F32", (3, 3), encoded((1.0,) * 9, "F32"))
    components = [
        Component(-6, (3, 1, -2), (1, -1, 5), 4.0),
        Component(-7, (1, 1, 1), (2, 0, 1), 2),
    ]
    recipe.low_rank(
        "w", "F32", (3, 3), [base], components, nuclear_norm=8.0, tau_rank=3, noise_rank=3
    )
    return recipe


@vector(0.5)
def nuclear_norm_of_all_sizes() -> Recipe:
    """Singular values and nuclear norms at the ends of their range."""
    recipe = Recipe(0.75)
    base = recipe.hold("base", "F32", (2, 2), encoded((1.0,) * 4, "F32"))
    for name, s, nuclear in (
        ("least", 2.0**-149, 5e-324),
        ("small", 2.0**-149, 2.0**-148),
        ("large", (2 - 2.0**-23) * 2.0**127, 1.7976931348623157e308),
    ):
        pair = [Component(-5, (1, 2), (1, 0), s), Component(-5, (0, 1), (3, 1), s)]
        told = {"nuclear_norm": nuclear, "noise_rank": 0}
        recipe.low_rank(name, "F32", (2, 2), [base], pair, **told)
    return recipe


@vector(0.573739, 0.573738)
def rounding_of_tau() -> Recipe:
    """x times the nuclear norm rounds to more than the sum that x was divided from: not served."""
    recipe = Recipe(0.75)
    base = recipe.hold("base", "F32", (2, 2), encoded((1.0,) * 4, "F32"))
    s, nuclear = 6.58182954788208, 11.471818279534912
    assert s / nuclear == 0.573739 and s / nuclear * nuclear > s
    told = {"nuclear_norm": nuclear, "tau_rank": 2, "noise_rank": 2}
    recipe.low_rank("w", "F32", (2, 2), [base], [Component(-5, (1, 2), (1, 0), s)], **told)
    return recipe


@vector(0.5, 0.25)
def aim_max_error() -> Recipe:
    """Made to an error; one record of each kind."""
    recipe = Recipe(0.75)
    recipe.max_error = 0.05
    base = recipe.hold("low", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.low_rank("low", "F16", (3, 2), [base], two(), norm=4.0, error=5 / 256)
    base = recipe.hold("dense", "F16", (6,), encoded(SIX, "F16"))
    values = (1, 0, -130, 0, 4, 129)
    recipe.dense("dense", "F32", (6,), [base], -12, values, norm=3.0, error=12 / 192)
    base = recipe.hold("rows", "U8", (2, 2), b"abcd")
    recipe.same("rows", "U8", (3, 2), [base], new=(1, b"ef"))
    recipe.raw("raw", "I16", (2,), b"\1\2\3\4")
    return recipe


@vector(0.625, 0.5)
def aim_budget() -> Recipe:
    """Made to a size; the components that tau takes, and more than those."""
    recipe = Recipe(0.75)
    recipe.budget = 20_000
    base = recipe.hold("base", "F32", (3, 4), encoded([k / 4 for k in range(12)], "F32"))
    for name, singular, nuclear, told in (
        ("exact", (3.0, 2.0), 6.0, {"tau_rank": 2, "noise_rank": 2}),
        ("more", (6.0, 1.0, 1.0), 8.0, {"tau_rank": 1, "noise_rank": 0}),
        ("few", (7.0,), 8.0, {"tau_rank": 1, "noise_rank": 3}),
    ):
        components = [
            Component(-6 - k, (3, 1, -k), (k + 1, -1, 5, 0), s) for k, s in enumerate(singular)
        ]
        norms = {"norm": 2.0, "error": 0.25}
        recipe.low_rank(
            name, "F32", (3, 4), [base], components, nuclear_norm=nuclear, **told, **norms
        )
    return recipe


@vector(0.5)
def aim_borders() -> Recipe:
    """Made to the largest error that can be asked for."""
    recipe = Recipe(1.0)
    recipe.max_error = math.nextafter(1.0, 0.0)
    base = recipe.hold("low", "BF16", (3, 2), encoded(SIX, "BF16"))
    told = {"norm": 1.0, "error": 1 - 2.0**-24}
    sums = {"nuclear_norm": 2.0, "noise_rank": 1}
    recipe.low_rank("low", "BF16", (3, 2), [base], two()[:1], **sums, **told)
    return recipe


@vector(0.5)
def aim_exact() -> Recipe:
    """Made to the least error that can be asked for, with nothing but `same` and `raw`."""
    recipe = Recipe(1.0)
    recipe.max_error = math.ulp(0.0)
    base = recipe.hold("copy", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.same("copy", "F32", (6,), [base])
    recipe.raw("raw", "U8", (3,), b"xyz")
    recipe.raw("nothing", "I64", (0,), b"")
    recipe.source_header = source_header(lossy=False)
    return recipe


@vector()
def aim_no_tensor() -> Recipe:
    """Made to the largest budget, without a tensor."""
    recipe = Recipe(1.0, "pickle")
    recipe.budget = 2**53 - 1
    return recipe


@vector()
def rows_elements() -> Recipe:
    """Elements of every maximum from 1 to 8, which fill their last byte or not."""
    recipe = Recipe()
    base = recipe.hold("base", "F32", (11,), encoded([k / 4 for k in range(11)], "F32"))
    for maximum, digits in zip(range(1, 9), (5, 3, 2, 2, 2, 2, 2, 1), strict=True):
        for length in sorted({1, digits, digits + 1, 2 * digits - 1, 11}):
            values = [(5 * k + maximum) % (2 * maximum + 1) - maximum for k in range(length - 1)]
            values.insert(length // 2, maximum if length % 2 else -maximum)
            view = View("slice", 0, length)
            name = f"{maximum}.{length:02d}"
            recipe.dense(name, "F32", (length,), [base], -5, values, view)
    return recipe


@vector()
def rows_every_byte() -> Recipe:
    """Every byte that a string of shared bytes can have, of every maximum."""
    recipe = Recipe()
    base = recipe.hold("base", "BF16", (1215,), bytes(2430))
    for maximum, digits in zip(range(1, 8), (5, 3, 2, 2, 2, 2, 2), strict=True):
        coded = [
            byte // (2 * maximum + 1) ** i % (2 * maximum + 1)
            for byte in range((2 * maximum + 1) ** digits)
            for i in range(digits)
        ]
        values = [-(u // 2) - 1 if u % 2 else u // 2 for u in coded]
        view = View("slice", 0, len(values))
        recipe.dense(f"{maximum}", "F16", (len(values),), [base], -6, values, view)
    return recipe


@vector(0.8, 0.6, 0.4, 0.2)
def rows_components() -> Recipe:
    """Both sides of every maximum from 1 to 8; lower tau takes some rows only."""
    recipe = Recipe(0.9)
    base = recipe.hold("base", "F16", (9, 11), encoded([k / 8 - 6 for k in range(99)], "F16"))
    components = [
        Component(
            -12 + k % 3,
            (*((7 * i + k) % (2 * a + 1) - a for i in range(2 * a + 1, 2 * a + 9)), a),
            (-b, *((4 * i + k) % (2 * b + 1) - b for i in range(10))),
            8.0 / (k + 1),
        )
        for k, (a, b) in enumerate(zip((3, 1, 8, 6, 2, 7, 5, 4), range(8, 0, -1), strict=True))
    ]
    recipe.low_rank("down", "F16", (9, 11), [base], components)
    recipe.low_rank("up", "BF16", (9, 11), [base], components[::2], nuclear_norm=20.0, tau_rank=3)
    return recipe


@vector(0.5)
def rows_widths() -> Recipe:
    """Rows of 1 to 4 bytes at the borders between widths beside rows of digits."""
    recipe = Recipe()
    zero = recipe.hold("zeros", "F32", (5,), encoded((0.0,) * 5, "F32"))
    maxima = (2**31 - 1, 1, 32768, 7, 128, 8, 32767, 2**23, 127, 2**23 - 1, 2)
    for i, maximum in enumerate(maxima):
        values = (maximum, -maximum, maximum // 2, 0, -1)
        recipe.dense(f"dense.{i:02d}", "F32", (5,), [zero], -31, values)
    base = recipe.hold("ones", "F32", (5, 6), encoded((1.0,) * 30, "F32"))
    sides = ((2**31 - 1, 1), (3, 2**31 - 1), (32768, 127), (128, 32767), (7, 32768))
    components = [
        Component(-40 - i, (a, -1, 0, 1, -a), (0, 1, -b, b // 2, 0, b), 5.0 - i)
        for i, (a, b) in enumerate(sides)
    ]
    recipe.low_rank("low", "F32", (5, 6), [base], components)
    return recipe


@vector(0.5)
def rows_planes() -> Recipe:
    """No row of digits: each string is a plane of bytes."""
    recipe = Recipe(1.0)
    base = recipe.hold("low", "F32", (4, 4), encoded((1.0,) * 16, "F32"))
    components = [
        Component(-20, (300, -299, 2, 200), (1, -8, 7, 3), 4.0),
        Component(-20, (-9, 8, 1, 0), (40000, 3, -39999, 258), 4.0),
    ]
    recipe.low_rank("low", "F32", (4, 4), [base], components)
    return recipe


@vector(0.5)
def rows_classes() -> Recipe:
    """Rows of one class of magnitude stand in their own order, whichever is larger."""
    recipe = Recipe()
    zero = recipe.hold("zeros", "F32", (3,), encoded((0.0,) * 3, "F32"))
    for i, maximum in enumerate((319, 288, 287, 17, 16, 15, 18, 19, 289, 70000, 65536, 69000)):
        recipe.dense(f"dense.{i:02d}", "F32", (3,), [zero], -20, (-maximum, i, maximum))
    base = recipe.hold("ones", "F32", (4, 4), encoded((1.0,) * 16, "F32"))
    components = [
        Component(-20, (33, -1, 0, 2), (1, 255, 3, 0), 4.0),
        Component(-20, (0, 32, 5, 5), (240, 1, -7, 2), 2.0),
    ]
    recipe.low_rank("low", "F32", (4, 4), [base], components)
    return recipe


@vector(0.75, 0.5)
def rows_interleaved() -> Recipe:
    """Rows of equal and of other magnitude of several tensors in one frame."""
    recipe = Recipe(0.9)
    data = encoded([k / 8 for k in range(-10, 10)], "F32")
    shapes = {"a": (4, 5), "b": (5, 4), "c": (2, 2, 5)}
    for i, (name, shape) in enumerate(shapes.items()):
        base = recipe.hold("base", "F32", (20,), data)
        m, n = shape[0], math.prod(shape[1:])
        components = [
            Component(
                -9,
                (*((-1) ** j * min(j + 1, most) for j in range(m - 1)), most),
                (other, *((j + i + k) % (2 * other) - other for j in range(n - 1))),
                4.0 / (k + 1),
            )
            for k, (most, other) in enumerate(((2, 200), (1, 2), (200, 1), (2, 4)))
        ]
        recipe.low_rank(name, "F16", shape, [base], components[: min(m, n)])
        values = [(3 * j + i) % 5 - 2 for j in range(20)]
        recipe.dense(f"{name}.2", "F32", (20,), [base], -6, values)
        recipe.dense(f"{name}.300", "F32", (20,), [base], -9, [150 * v for v in values])
    return recipe


@vector(0.75, 0.5, 0.25)
def rows_parts() -> Recipe:
    """Each part has rows of its own; not every part of a tensor has its maximum."""
    recipe = Recipe(0.9)
    nine = recipe.hold("nine", "F32", (11,), encoded([k / 4 for k in range(11)], "F32"))
    values = (1, 0, -1, 1, 0, -2, 2, 1, -1, 0, 1)
    recipe.dense("d", "F32", (11,), [nine], -5, values, runs=((4, 0), (5, 0), (2, 1)))
    seven = View("slice", 2, 7)
    recipe.dense("e", "F32", (7,), [nine], -5, (1, 0, -1, 0, 0, 1, 0), seven)
    recipe.dense("f", "F32", (4,), [nine], -5, (2, 0, 0, -1), View("slice", 0, 4))
    recipe.dense("g", "F32", (7,), [nine], -5, (3, 0, -3, 2, 1, 0, 0), seven)
    base = recipe.hold("low", "F16", (3, 4), encoded([k / 4 for k in range(12)], "F16"))
    components = [
        Component(-6, (2, -1, 0), (1, 1, 0, -1), 4.0),
        Component(-7, (0, 1, 1), (2, -2, 0, 1), 2.0),
        Component(-7, (-2, 2, 1), (0, 0, 0, 1), 2.0),
    ]
    new = 2, encoded((9.0, -9.0, 0.0, -0.0, math.inf, 1.0, 2.0, 3.0), "F16")
    recipe.low_rank(
        "low", "F16", (5, 4), [base], components, new=new,
        tables=((2, 0), (1, 1)), runs=((1, 0), (1, 0), (1, 1)),
    )  # fmt: skip
    return recipe


@vector()
def rows_rank_one() -> Recipe:
    """One component, one row, one column, one element, a scalar."""
    recipe = Recipe()
    base = recipe.hold("base", "F32", (6,), encoded(SIX, "F32"))
    recipe.low_rank("row", "F32", (1, 6), [base], [Component(-4, (1,), (1, 0, -1, 0, 1, 1), 1.0)])
    recipe.low_rank(
        "column", "F32", (6, 1), [base], [Component(-4, (0, 2, 1, 0, 0, 0), (-1,), 1.0)]
    )
    recipe.low_rank("matrix", "F16", (3, 2), [base], [Component(-4, (-3, 0, 9), (0, 5), 1.0)])
    one = recipe.hold("one", "F32", (), encoded((1.5,), "F32"))
    recipe.low_rank("one.low", "F32", (1, 1), [one], [Component(-2, (-1,), (300,), 1.0)])
    recipe.dense("one.dense", "F32", (), [one], -4, (-1,))
    recipe.dense("one.large", "BF16", (1,), [one], -14, (-(2**15),))
    return recipe


SHARDS = "unet/model-00001-of-00002.safetensors", "unet/model-00002-of-00002.safetensors"


@vector(0.5, 0.25, 0.05)
def tree_small() -> Recipe:
    """A tree: shards of one prefix, a root file, one kept to the byte beside changed ones.

    Files that are stored (an empty one, one in two parts and frames) and files of the base, one of
    them under another path.
    """
    recipe = Recipe(0.75)
    recipe.base_files = {
        "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}\n',
        "tokenizer/vocab.json": b'{"a": 0, "b": 1}',
        "scheduler/config.json": b"{}",
    }
    base = recipe.hold("unet/low", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.low_rank("unet/low", "F16", (3, 2), [base], two())
    recipe.raw("unet/raw", "I16", (2,), b"\1\2\3\4")
    recipe.tensors(SHARDS[0], "unet/", file_header({"raw": ("I16", [2]), "low": ("F16", [3, 2])}))
    base = recipe.hold("unet/dense", "F16", (6,), encoded(SIX, "F16"))
    recipe.dense("unet/dense", "F32", (6,), [base], -12, (1, 0, -130, 0, 4, 129))
    metadata = {"format": "pt", "modelspec.hash_sha256": "0x12", "dsvd.tau": "0.3"}
    recipe.tensors(SHARDS[1], "unet/", file_header({"dense": ("F32", [6])}, metadata))
    base = recipe.hold("text/copy", "BF16", (3, 2), encoded(SIX, "BF16"))
    recipe.same("text/copy", "BF16", (2, 3), [base])
    recipe.raw("text/raw", "U8", (3,), b"xyz")
    kept = {"copy": ("BF16", [2, 3]), "raw": ("U8", [3])}
    recipe.tensors("text/model.safetensors", "text/", file_header(kept, metadata) + b" \n")
    base = recipe.hold("rows", "U8", (2, 2), b"abcd")
    recipe.same("rows", "U8", (3, 2), [base], new=(1, b"ef"))
    recipe.low_rank("root", "F32", (3, 2), [recipe.hold("root", "F32", (6,), bytes(24))], two())
    root = {"root": ("F32", [3, 2]), "rows": ("U8", [3, 2])}
    recipe.tensors("model.safetensors", "", file_header(root))
    recipe.of_base("model_index.json", "model_index.json")
    recipe.of_base("tokenizer/2/vocab.json", "tokenizer/vocab.json")
    recipe.stored("tokenizer/2/merges.txt", b"a b\nc d\n", runs=((3, 0), (5, 1)))
    recipe.stored("tokenizer/2/empty", b"")
    recipe.stored("unet/config.json", b'{"sample_size": 8}')
    return recipe


@vector(0.25)
def tree_of_one() -> Recipe:
    """A tree: a single file that holds tensors, and a base that is a file, too."""
    recipe = Recipe(0.75)
    base = recipe.hold("called otherwise", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.low_rank("low", "F32", (3, 2), [base], two())
    recipe.tensors("deep/er/a.safetensors", "", file_header({"low": ("F32", [3, 2])}))
    return recipe


@vector(0.25)
def tree_kept() -> Recipe:
    """A tree with nothing but `same` and `raw`, and files without a tensor."""
    recipe = Recipe()
    base = recipe.hold("copy", "F32", (3, 2), encoded(SIX, "F32"))
    recipe.same("b.copy", "F32", (6,), [base])
    recipe.raw("b.raw", "U8", (3,), b"xyz")
    recipe.raw("b.nothing", "I64", (0,), b"")
    recipe.tensors("model.safetensors", "b.", source_header(lossy=False))
    recipe.tensors("no/tensor", "", b"{}")
    recipe.tensors("no/tensor.2", "any", b'{"__metadata__":{"a":"b"}} ')
    return recipe


@vector()
def tree_names() -> Recipe:
    """A tree: odd paths and their order; prefixes that are no folder, or begin another."""
    recipe = Recipe()
    held = recipe.hold("w", "F32", (2,), encoded((1.0, 2.0), "F32"))
    for path, prefix, name in (
        ("u", "", "/"),
        ("un", "/", "/"),
        ("un.safetensors", "//", "\u00e9"),
        ("\uffff.d/\U0001f600", "//\u00e9", "\U0001f600"),
        ("\U0001f600", "__", "metadata_"),
    ):
        recipe.dense(prefix + name, "F32", (2,), [held], -4, (1, -3))
        recipe.tensors(path, prefix, file_header({name: ("F32", [2])}))
    for path in (
        *("a-b", "a/b", "a0", ".hidden/.x", "..a", "a..b", ".dsvd", "x.dsvd-tmp-", "~"),
        *(" a", "a b/ c", "-", "'$`!#%&()+,;=@[]^{}", "\x80\u00a0", "e\u0301", "\u202e"),
        *("long/" + "p" * 255, "d/" * 99 + "d"),
    ):
        recipe.stored(path, path.encode()[:9])
    return recipe


@vector(0.5, 0.25)
def tree_aim() -> Recipe:
    """A tree that was made to an error."""
    recipe = aim_max_error()
    first = {"dense": ("F32", [6]), "low": ("F16", [3, 2])}
    second = {"raw": ("I16", [2]), "rows": ("U8", [3, 2])}
    recipe.tensors("a.safetensors", "", file_header(first))
    recipe.tensors("b.safetensors", "", file_header(second, {"format": "pt"}))
    recipe.stored("config.json", b"{}")
    return recipe


def of_all_kinds() -> Recipe:
    """A record of each kind, of delta dtypes; the names between those of their casts."""
    recipe = Recipe(0.75)
    base = recipe.hold("low", "F32", (3, 2), encoded(SIX, "F32"))
    new = 1, encoded((65504.0, -(2.0**-24)), "F32")
    recipe.low_rank("m/low", "F32", (4, 2), [base], two(), new=new)
    recipe.dense("m/dense", "F32", (6,), [base], -12, (1, 0, -130, 0, 4, 129))
    recipe.same("m/same", "F16", (2, 3), [base])
    # Ties, what rounds to the largest numbers, to zeros and to subnormal ones, and infinities.
    ties = (1 + 2.0**-11, 1 + 3 * 2.0**-11, -1 - 2.0**-8, 65519.0, 2.0**-25, -(2.0**-25))
    small = (3 * 2.0**-25, -(2.0**-24), -0.0, 2.0**-140, math.inf, -math.inf)
    recipe.raw(
        "m/raw", "F32", (12,), encoded((*ties, *small), "F32"), runs=((5, 0), (6, 0), (37, 1))
    )
    return recipe


@vector(0.5, 0.25)
def cast_kinds() -> Recipe:
    """Casts: of every kind, before and behind the other record, up, down and of one dtype."""
    recipe = of_all_kinds()
    for name in ("low", "dense", "same", "raw"):
        for dtype in DELTA:
            recipe.cast(f"{'a' if dtype == 'BF16' else 'z'}/{name}.{dtype}", dtype, f"m/{name}")
    one = recipe.hold("one", "BF16", (), encoded((1.5,), "BF16"))
    recipe.dense("scalar", "BF16", (), [one], -4, (-1,))
    recipe.cast("scalar.F16", "F16", "scalar")
    recipe.raw("nothing", "F16", (0, 3), b"")
    recipe.cast("nothing.F32", "F32", "nothing")
    return recipe


@vector(0.5, 0.25)
def cast_tree() -> Recipe:
    """Casts in a tree: a variant that is laid out anew, and one kept to the byte."""
    recipe = of_all_kinds()
    recipe.cast("m/model.fp16/low", "F16", "m/low")
    recipe.cast("m/model.fp16/raw", "BF16", "m/raw")
    recipe.cast("n/model.fp16/same", "BF16", "m/same")
    recipe.cast("n/model.fp16/raw", "F16", "m/raw")
    model = {
        "raw": ("F32", [12]),
        "low": ("F32", [4, 2]),
        "dense": ("F32", [6]),
        "same": ("F16", [2, 3]),
    }
    recipe.tensors("m/model.safetensors", "m/", file_header(model))
    metadata = {"format": "pt", "dsvd.tau": "0.3"}
    fp16 = {"low": ("F16", [4, 2]), "raw": ("BF16", [12])}
    recipe.tensors("m/model.fp16.safetensors", "m/model.fp16/", file_header(fp16, metadata))
    fp16 = {"same": ("BF16", [2, 3]), "raw": ("F16", [12])}
    recipe.tensors("n/model.fp16.safetensors", "n/model.fp16/", file_header(fp16, metadata))
    return recipe


@vector(0.25)
def cast_source_again() -> Recipe:
    """Casts: with nothing but `same`, `raw` and casts of these the result is the source."""
    recipe = Recipe()
    base = recipe.hold("copy", "F32", (6,), encoded(SIX, "F32"))
    recipe.same("copy", "F32", (6,), [base])
    recipe.raw("raw", "BF16", (2,), encoded((1.5, -0.0), "BF16"))
    recipe.cast("half", "F16", "copy")
    recipe.cast("a", "F32", "raw")
    tensors = {"half": ("F16", [6]), "copy": ("F32", [6]), "raw": ("BF16", [2]), "a": ("F32", [2])}
    recipe.source_header = file_header(tensors, {"dsvd.tau": "1"}) + b" "
    return recipe


@vector(0.25)
def cast_source_lossy() -> Recipe:
    """Casts: beside a `source_header`, with a delta."""
    recipe = Recipe()
    base = recipe.hold("low", "F16", (3, 2), encoded(SIX, "F16"))
    recipe.low_rank("low", "F32", (3, 2), [base], two())
    recipe.cast("half", "F16", "low")
    tensors = {"half": ("F16", [3, 2]), "low": ("F32", [3, 2])}
    recipe.source_header = file_header(tensors, {"dsvd.tau": "1", "a": "b"})
    return recipe


@vector(0.5, 0.25)
def cast_aim() -> Recipe:
    """Casts in a container that was made to an error."""
    recipe = aim_max_error()
    recipe.cast("low.F32", "F32", "low")
    recipe.cast("dense.F16", "F16", "dense")
    return recipe


@vector(0.5)
def merge_aim() -> Recipe:
    """A merge: weights of either sign, rules for layers."""
    recipe = aim_max_error()
    recipe.source_format = "merge"
    recipe.merge = MergeRecipe(
        (MergedVersion("subject@2", "a" * 64, 0.6), MergedVersion("\u00e9", "0" * 64, -1.25)),
        (LayerRule("unet.up_*", 0.0), LayerRule("text encoder", -0.5, "0" * 64)),
        "a" * 64,
    )
    return recipe


@vector(0.25)
def merge_of_one() -> Recipe:
    """A merge: the least that there can be, and the largest weight."""
    recipe = small()
    recipe.source_format = "merge"
    recipe.merge = MergeRecipe((MergedVersion("a", "f" * 64, sys.float_info.max),))
    return recipe
