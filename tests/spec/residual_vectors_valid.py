"""The valid golden residuals, each a function that says in its first line what it is for.

Every number is chosen by hand. These are the files of format version 1 and are FROZEN: a change
here that changes a committed file is a change of the format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, product

from dsvd_registry.checkpoint.tensor_info import BITS

from . import exact, exact_codes
from .building import Recipe, file_header
from .exact import Component, encoded
from .quantised_vectors import GRIDS, MAP, add, single
from .residual_building import (
    BASES,
    MANTISSA,
    BuiltResidual,
    Lacking,
    apart,
    build,
    last_class,
    last_exponent,
    last_of,
    recompressed,
)
from .sealing import zstd
from .valid_vectors import DELTA, SIX, cast_tree, small, tree_small, two, views

VALID: dict[str, Callable[[], BuiltResidual]] = {}

# Bits of all kinds: both zeros, the least and the largest denormal, one, infinities, NaNs.
SPECIAL = {
    "F32": (0, 1 << 31, 1, 0x807FFFFF, 0x3F800000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF),
    "F16": (0, 1 << 15, 1, 0x83FF, 0x3C00, 0x7C00, 0xFC00, 0x7E00, 0xFFFF),
    "BF16": (0, 1 << 15, 1, 0x807F, 0x3F80, 0x7F80, 0xFF80, 0x7FC0, 0xFFFF),
}


def vector(make: Callable[[], BuiltResidual]) -> Callable[[], BuiltResidual]:
    VALID[make.__name__.replace("_", "-")] = make
    return make


def near(
    recipe: Recipe, name: str, off: tuple[int, ...], own: tuple[Component, ...] = ()
) -> Lacking:
    """A source that is so many places (zigzag) from the prediction of its tensor, over and over."""
    built = recipe.build()
    record = next(t for t in built.header["tensors"] if t["name"] == name)
    shape = record["shape"]
    elements = 1
    for size in (shape[0] - record.get("new_rows", 0), *shape[1:]) if shape else ():
        elements *= size
    one = build(recipe, {name: Lacking((0,) * elements, own=own)})
    z = (off * elements)[:elements]
    xs, dtype = one.predictions[name], record["dtype"]
    return Lacking([apart(x, far, dtype) for x, far in zip(xs, z, strict=True)], own=own)


@vector
def plain() -> BuiltResidual:
    """A low-rank and a dense tensor beside others, no `source_header`; most invalid ones are of it."""
    recipe = small()
    low = replace(
        near(recipe, "low", (2, 0, 5, 1, 0, 40)), groups=((30, 1, 2), (31, 0, 1), (63, 3, 4))
    )
    dense = replace(near(recipe, "dense", (0, 3, 300, 1, 0, 9)), groups=((120, 0, 0), (255, 4, 3)))
    return build(recipe, {"low": low, "dense": dense})


@vector
def special_bits() -> BuiltResidual:
    """Sources that are zeros, denormals, infinities and NaNs of both signs, over every dtype."""
    recipe = Recipe(0.75)
    values = (*SIX, 1.0, 1.0, 1.0)
    components = [Component(-9, (3, -4, 0), (5, 1, 2), 2.0)]
    header, lacking = {}, {}
    for dtype in DELTA:
        base = recipe.hold(dtype, dtype, (3, 3), encoded(values, dtype))
        recipe.low_rank(f"low.{dtype}", dtype, (3, 3), [base], components)
        recipe.dense(f"dense.{dtype}", dtype, (3, 3), [base], -12, (1, 0, -130, 0, 4, 129, 0, 0, 0))
        for kind in ("low", "dense"):
            header[f"{kind}.{dtype}"] = dtype, [3, 3]
            lacking[f"{kind}.{dtype}"] = Lacking(SPECIAL[dtype])
    recipe.source_header = file_header(header)
    return build(recipe, lacking)


@vector
def between_dtypes() -> BuiltResidual:
    """Predictions of each dtype out of a base of each other one."""
    recipe, lacking = Recipe(0.75), {}
    for source in DELTA:
        base = recipe.hold(source, source, (3, 2), encoded(SIX, source))
        for dtype in DELTA:
            if dtype != source:
                recipe.low_rank(f"{source}.{dtype}", dtype, (3, 2), [base], two())
    for source in DELTA:
        for dtype in DELTA:
            if dtype != source:
                lacking[f"{source}.{dtype}"] = near(recipe, f"{source}.{dtype}", (0, 1, 2, 77))
    return build(recipe, lacking)


@vector
def own_components() -> BuiltResidual:
    """Components on top, of every dtype and over both kinds, up to the full rank."""
    recipe, lacking = Recipe(0.75), {}
    top = [
        Component(-11, (300, -4, 1), (5, 1), 0.5),
        Component(-13, (1, 1, -1), (-1, 40000), 0.25),
    ]
    own = {"low": tuple(top), "dense": tuple(top[:1])}
    for dtype in DELTA:
        base = recipe.hold(dtype, dtype, (3, 2), encoded(SIX, dtype))
        recipe.low_rank(f"low.{dtype}", dtype, (3, 2), [base], two()[:1])
        recipe.dense(f"dense.{dtype}", dtype, (3, 2), [base], -12, (1, 0, -130, 0, 4, 129))
    for dtype in DELTA:
        for kind in ("low", "dense"):
            lacking[f"{kind}.{dtype}"] = near(recipe, f"{kind}.{dtype}", (1, 0, 2), own[kind])
    return build(recipe, lacking)


@vector
def rounded_before() -> BuiltResidual:
    """Components are added to the result as it was rounded, and a sum of zero is +0.0."""
    recipe = Recipe()
    base = recipe.hold("w", "F32", (2, 2), encoded((1.0, 1.0, 1.0, 2.0), "F32"))
    recipe.low_rank("w", "F16", (2, 2), [base], [Component(-12, (1, 0), (1, 0), 1.0)])
    own = (Component(-13, (3, 0), (1, 0), 1.0),)  # 1/4 and 3/8 of a step: together a whole one
    values = (-(2.0**-100), -(2.0**-100), 2.0, 1.0)  # rounded to -0.0, twice
    base = recipe.hold("zero", "F32", (2, 2), encoded(values, "F32"))
    recipe.dense("zero", "F16", (2, 2), [base], 0, (0, 0, -1, 0))
    zero = (Component(0, (0, -1), (1, 0), 1.0),)
    lacking = {"w": near(recipe, "w", (0, 1), own), "zero": near(recipe, "zero", (0, 0, 2), zero)}
    return build(recipe, lacking)


@vector
def new_rows() -> BuiltResidual:
    """Rows without a counterpart follow those that the residual gives."""
    recipe = Recipe()
    base = recipe.hold("w", "F16", (3, 2), encoded(SIX, "F16"))
    recipe.low_rank("low", "F16", (4, 2), [base], two(), new=(1, b"abcd"))
    recipe.dense("dense", "F16", (5, 2), [base], -12, (1, 0, -130, 0, 4, 129), new=(2, b"12345678"))
    recipe.source_header = file_header({"dense": ("F16", [5, 2]), "low": ("F16", [4, 2])})
    lacking = {
        "low": near(recipe, "low", (0, 5), (Component(-11, (3, -4, 1), (5, 1), 0.5),)),
        "dense": near(recipe, "dense", (8, 0, 1)),
    }
    return build(recipe, lacking)


@vector
def roundings() -> BuiltResidual:
    """Predictions of both signs that were rounded by each eighth of a step, up and down."""
    recipe, lacking = Recipe(), {}
    for dtype in ("F16", "BF16"):
        values = (1.0, -1.0, 1.5, -1.5, 0.75, -0.75)
        held = recipe.hold(dtype, dtype, (6, 16), encoded(values * 16, dtype))
        eighths = tuple(i // 6 - 8 for i in range(96))
        recipe.dense(dtype, dtype, (6, 16), [held], -MANTISSA[dtype] - 3, eighths)
    for dtype in ("F16", "BF16"):
        one = 1 << BITS[dtype] - 2 - MANTISSA[dtype]  # more than the exponent of 1
        groups = ((2 * one - 4, 0, 1), (2 * one - 3, 1, 0), (2 * one - 2, 0, 2))
        far = near(recipe, dtype, (1, 0, 2, 5, 3))
        lacking[dtype] = replace(far, groups=(*groups, (last_class(dtype), 0, 3)))
    return build(recipe, lacking)


@vector
def digits() -> BuiltResidual:
    """Every base of digits, in groups that fill their last byte or not, with and without a rest."""
    recipe, lacking = Recipe(), {}
    for elements in (1, 6, 25):
        held = recipe.hold(f"{elements}", "F16", (elements,), encoded((1.0,) * elements, "F16"))
        for base in BASES:
            recipe.dense(f"{base[0]}.{elements}", "F16", (elements,), [held], -9, (1,) * elements)
    for code, (base, _) in enumerate(BASES):
        for elements in (1, 6, 25):
            off = (base - 2, base - 1, 0, base, base // 2, base + 700)
            far = near(recipe, f"{base}.{elements}", off)
            lacking[f"{base}.{elements}"] = replace(far, groups=((63, 0, code),))
    return build(recipe, lacking)


def _shifts(dtype: str) -> BuiltResidual:
    bits = BITS[dtype]
    recipe, lacking = Recipe(), {}
    for code in range(5):
        exponents = range(8, 8 + 16)
        for first in range(0, bits, 16):
            name = f"{code}.{first}"
            data = b"".join((x << MANTISSA[dtype]).to_bytes(bits // 8, "little") for x in exponents)
            base = recipe.hold(name, dtype, (4, 4), data)
            recipe.dense(name, dtype, (4, 4), [base], -126, (1,) + (0,) * 15)
            limits = ((1 << shift + 1) - 1 for shift in range(first, first + 16))
            lacking[name] = replace(
                near(recipe, name, tuple(limits)),
                groups=(
                    *((last_of(8 + i, dtype), first + i, code) for i in range(15)),
                    (last_class(dtype), first + 15, code),
                ),
            )
    return build(recipe, lacking)


@vector
def shifts_f32() -> BuiltResidual:
    """Each shift from 0 to 31, with each base."""
    return _shifts("F32")


@vector
def shifts_f16() -> BuiltResidual:
    """Each shift from 0 to 15, with each base."""
    return _shifts("F16")


@vector
def shifts_bf16() -> BuiltResidual:
    """Each shift from 0 to 15, with each base."""
    return _shifts("BF16")


def _by_exponent(dtype: str) -> tuple[tuple[int, int, int], ...]:
    """As many groups as there are."""
    return tuple((last_of(x, dtype), x % 3, x % 5) for x in range(last_exponent(dtype) + 1))


@vector
def all_groups() -> BuiltResidual:
    """As many groups as there are exponents, of one element each."""
    recipe, lacking = Recipe(), {}
    for dtype in DELTA:
        exponents = range(last_exponent(dtype))  # the last is that of infinities
        data = b"".join(
            (x << MANTISSA[dtype] | 1).to_bytes(BITS[dtype] // 8, "little") for x in exponents
        )
        base = recipe.hold(dtype, dtype, (len(exponents),), data)
        delta = (1,) + (0,) * (len(exponents) - 1)  # of 2^-126: all exponents stay
        recipe.dense(dtype, dtype, (len(exponents),), [base], -126, delta)
    for dtype in DELTA:
        far = near(recipe, dtype, (1, 0, 9))
        lacking[dtype] = replace(far, groups=_by_exponent(dtype))
    return build(recipe, lacking)


@vector
def empty_groups() -> BuiltResidual:
    """Many groups, and hardly any element."""
    recipe, lacking = Recipe(), {}
    for dtype in DELTA:
        base = recipe.hold(dtype, dtype, (2,), encoded((1.0, 2.0), dtype))
        recipe.dense(dtype, dtype, (2,), [base], -126, (1, 0))
    for dtype in DELTA:
        few = ((0, 1, 2), (1, 2, 3), (last_class(dtype), 0, 4))
        groups = _by_exponent(dtype) if dtype == "F16" else few
        lacking[dtype] = replace(near(recipe, dtype, (700,)), groups=groups)
    return build(recipe, lacking)


@vector
def farthest() -> BuiltResidual:
    """Differences of -2^(W-1) and 2^(W-1) - 1, the largest rest there is, by every base."""
    recipe, lacking = Recipe(), {}
    for dtype in DELTA:
        base = recipe.hold(dtype, dtype, (4,), encoded((1.0, -1.0, 0.0, 96.0), dtype))
        for code in range(5):
            recipe.dense(f"{dtype}.{code}", dtype, (4,), [base], -100, (1, 1, 0, 1))
    for dtype in DELTA:
        most = (1 << BITS[dtype]) - 1
        for code in range(5):
            name = f"{dtype}.{code}"
            far = near(recipe, name, (most, most - 1))
            groups = ((last_class(dtype), code, code),)
            lacking[name] = replace(far, groups=groups)
    return build(recipe, lacking)


@vector
def shapes() -> BuiltResidual:
    """Tensors of a scalar's shape, of one element, of three dimensions, over every view."""
    recipe = views()
    base = recipe.hold("one", "F32", (1,), encoded((1.0,), "F32"))
    recipe.dense("scalar", "F32", (), [base], -9, (1,))
    recipe.dense("single", "BF16", (1, 1, 1), [base], -9, (1,))
    header = recipe.build().header
    names = [t["name"] for t in header["tensors"] if t["kind"] in ("low_rank", "dense")]
    return build(recipe, {name: near(recipe, name, (1, 0, 6)) for name in names})


@vector
def nothing_lacks() -> BuiltResidual:
    """Without a tensor: the result's tensors are the source's, though its header is not."""
    recipe = small()
    header = {"low": ("F16", [3, 2]), "dense": ("F32", [6]), "rows": ("U8", [3, 2])}
    recipe.source_header = file_header(
        {**header, "raw": ("I16", [2])}, {"format": "np", "dsvd.tau": "1"}
    )
    return build(recipe, {})


@vector
def no_delta() -> BuiltResidual:
    """Without a tensor, of a container whose result is the source already."""
    recipe = Recipe()
    recipe.raw("raw", "I16", (2,), b"\1\2\3\4")
    recipe.source_header = file_header({"raw": ("I16", [2])})
    return build(recipe, {})


@vector
def not_needed() -> BuiltResidual:
    """A tensor that stands in it though its result is its source."""
    recipe = small()
    return build(recipe, {"dense": near(recipe, "dense", (0,))})


@vector
def other_format() -> BuiltResidual:
    """A source that is no safetensors file: names that JSON escapes, dtypes of all sizes."""
    recipe = Recipe(source_format="pickle")
    recipe.raw("\uffff", "U8", (1,), b"a")
    recipe.raw("\U0001f600\n", "I64", (1,), b"12345678")
    base = recipe.hold("w", "BF16", (2,), encoded((1.0, 2.0), "BF16"))
    recipe.dense('"\u00e9', "F32", (2,), [base], -9, (1, 0))
    return build(recipe, {'"\u00e9': near(recipe, '"\u00e9', (3, 4))})


@vector
def tree() -> BuiltResidual:
    """A folder: shards, files that are kept to the byte, stored ones and ones of the base."""
    recipe = tree_small()
    own = (Component(-20, (1, 0, 2), (1, -2), 0.25),)
    lacking = {
        "unet/low": near(recipe, "unet/low", (1, 9)),
        "root": near(recipe, "root", (0, 2**32 - 1), own),
    }
    return build(recipe, lacking)


@vector
def casts() -> BuiltResidual:
    """Casts in files of a tree: of the source's tensors, and not of those of the result."""
    recipe = cast_tree()
    own = (Component(-12, (1, 0, 2), (1, -2), 0.25),)
    lacking = {
        "m/low": near(recipe, "m/low", (9, 2**14, 1), own),
        "m/dense": near(recipe, "m/dense", (5,)),
    }
    return build(recipe, lacking)


@vector
def cast_alone() -> BuiltResidual:
    """Casts beside a `source_header`; the source's last number is the largest of its dtype."""
    recipe = Recipe()
    base = recipe.hold("w", "F16", (2,), encoded((1.0, 2.0), "F16"))
    recipe.dense("w", "F16", (2,), [base], -4, (1, -1))
    for dtype in DELTA:
        recipe.cast(dtype, dtype, "w")
    tensors = {"w": ("F16", [2]), **{dtype: (dtype, [2]) for dtype in DELTA}}
    recipe.source_header = file_header(tensors)
    return build(recipe, {"w": Lacking((0x3C01, 0x7BFF))})


@vector
def other_zstd() -> BuiltResidual:
    """Frames that the package's writer does not make: other levels, content checksums."""
    one = own_components()
    options = ({"level": 19}, {"write_checksum": True}, {"level": -5, "write_checksum": True})
    number = count()
    file = recompressed(one, lambda data: zstd(data, **options[next(number) % 3]))
    return replace(one, file=file)


@vector
def codes() -> BuiltResidual:
    """Codes of every grid, near their predictions and far from them, in groups by their classes."""
    recipe, lacking = Recipe(0.75), {}
    weights = tuple(single((i - 9.3) * 0.11 * (1 + i % 3)) for i in range(24))
    base = recipe.hold("w", "F32", (4, 6), encoded(weights, "F32"))
    scale = single(0.35)
    recipe.raw("scale", "F32", (), encoded((scale,), "F32"))
    recipe.raw("map", "F32", (16,), encoded(MAP, "F32"))
    one = {"tensor": "scale", "rows": 4, "columns": 6}
    for grid, rule in product(GRIDS, ("divide", "multiply")):
        scales, order = [scale] * 24, "low" if rule == "divide" else "high"
        add(recipe, f"{grid}.{rule}", [base], weights, scales, grid, 6, rule, order=order, **one)
        predicted = tuple(exact_codes.predicted(w, scale, grid, rule, MAP) for w in weights)
        bits = 4 if grid in ("e2m1", "map") else 8
        off = (0, 1, 0, -1, 0, 2, 77, 0)
        source = [(p[0] + off[i % 8]) % (1 << bits) for i, p in enumerate(predicted)]
        groups = ((177, 0, 0), (183, 1, 1), (255, 0, 4 if bits == 8 else 3))
        lacking[f"{grid}.{rule}"] = Lacking(source, groups, (), predicted)
    return build(recipe, lacking)


@vector
def codes_with_components() -> BuiltResidual:
    """Codes of weights with own components, without a scale."""
    recipe, lacking = Recipe(0.75), {}
    base = recipe.hold("w", "F16", (3, 2), encoded(SIX, "F16"))
    own = (Component(-5, (3, -4, 0), (5, 1), 2.0),)
    delta = exact.low_rank_delta(own, 3, 2)
    weights = exact.decoded(exact.added(encoded(SIX, "F16"), "F16", delta, "F32"), "F32")
    for grid in ("e4m3", "e5m2", "int8", "e2m1"):
        add(recipe, grid, [base], SIX, [1.0] * 6, grid, 2)
        predicted = tuple(exact_codes.predicted(w, 1.0, grid, "divide") for w in weights)
        source = [p[0] ^ (i == 3) for i, p in enumerate(predicted)]
        lacking[grid] = Lacking(source, own=own, predicted=predicted)
    return build(recipe, lacking)
