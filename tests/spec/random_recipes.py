"""Hypothesis strategies for valid containers of all kinds, views and dtypes."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import assume
from hypothesis import strategies as st

from dsvd_registry.checkpoint.tensor_info import BITS
from dsvd_registry.container.records import (
    RAW_REASONS,
    BaseTensor,
    LayerRule,
    MergedVersion,
    MergeRecipe,
    View,
)

from . import exact
from .building import Built, Recipe, Runs
from .exact import Component

DELTA = ("F32", "F16", "BF16")
NAMES = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=4
)


FILES = st.sampled_from(["a-b", "a0", "\uffff", "\U0001f600", ".x", "w.safetensors", "a.b"])


@st.composite
def containers(draw: st.DrawFn) -> Built:
    return draw(recipes()).build()


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    recipe = Recipe(
        draw(st.integers(50_000, 10**6)) / 10**6, draw(st.sampled_from(["safetensors", "pickle"]))
    )
    match draw(st.sampled_from(["tau", "max_error", "budget"])):
        case "max_error":
            recipe.max_error = draw(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True))
        case "budget":
            recipe.budget = draw(st.sampled_from([1, 2**53 - 1]))
    recipe.merge = draw(st.none() | _merge())
    names = draw(
        st.lists(NAMES.filter(lambda name: name != "__metadata__"), max_size=4, unique=True)
    )
    for name in names:
        kind = draw(st.sampled_from([_same, _low_rank, _dense, _raw]))
        try:
            kind(draw, recipe, name)
        except exact.NotFinite:
            assume(False)
    _casts(draw, recipe, names)
    match draw(st.sampled_from(["none", "header", "tree"])):
        case "tree":
            _tree(draw, recipe)
        case "header" if recipe.source_format == "safetensors":
            names = [record["name"] for record in recipe.build().header["tensors"]]
            recipe.source_header = _source_header(draw, recipe, names)
    return recipe


@st.composite
def _merge(draw: st.DrawFn) -> MergeRecipe:
    weights = st.floats(allow_nan=False, allow_infinity=False).map(lambda weight: weight + 0.0)
    digests = draw(st.lists(st.sampled_from("0123456789abcdef"), min_size=1, unique=True))
    containers = st.sampled_from([digit * 64 for digit in digests])
    names = NAMES.filter(bool)
    versions = [MergedVersion(draw(names), digit * 64, draw(weights)) for digit in digests]
    rules = st.builds(LayerRule, names, weights, st.none() | containers)
    layers = draw(st.lists(rules, max_size=2))
    return MergeRecipe(tuple(versions), tuple(layers), draw(st.none() | containers))


def _tree(draw: st.DrawFn, recipe: Recipe) -> None:
    """Files that share the tensors, by prefixes that each name is cut after; stored and base's."""
    folders = st.lists(st.sampled_from(["a", "b.x", "\u00e9", "-"]), max_size=2)
    drawn = draw(st.lists(st.tuples(folders, FILES), min_size=4, max_size=9))
    paths = list(dict.fromkeys("/".join([*above, name]) for above, name in drawn))
    paths = [p for p in paths if not any(other.startswith(f"{p}/") for other in paths)]
    models: dict[tuple[str, int], list[str]] = {}
    for name in (record["name"] for record in recipe.build().header["tensors"]):
        prefix = name[: draw(st.integers(0, len(name) - 1))]
        models.setdefault((prefix, draw(st.integers(0, 1))), []).append(name)
    models = models or {("", 0): []}
    assume(len(models) <= len(paths))
    for path, ((prefix, _), names) in zip(paths, models.items(), strict=False):
        recipe.tensors(path, prefix, _source_header(draw, recipe, names, prefix))
    for path in paths[len(models) :]:
        data = draw(st.binary(max_size=9))
        if draw(st.booleans()):
            recipe.stored(path, data, _runs(draw, len(data)) if data else ())
        else:
            held = f"held/{len(recipe.base_files)}"
            recipe.base_files[held] = data
            recipe.of_base(path, held)


def _source_header(draw: st.DrawFn, recipe: Recipe, names: list[str], prefix: str = "") -> bytes:
    """Entries in one order, data in another, white space, metadata."""
    built = recipe.plain().build()
    data = built.data_at(built.tau)
    assert data is not None
    entries: dict[str, Any] = {}
    position = 0
    records = [record for record in built.header["tensors"] if record["name"] in names]
    for record in draw(st.permutations(records)):
        end = position + len(data[record["name"]])
        entries[record["name"].removeprefix(prefix)] = {
            "shape": record["shape"],
            "dtype": record["dtype"],
            "data_offsets": [position, end],
        }
        position = end
    keys = st.sampled_from(["format", "dsvd.tau", "sshs_model_hash", "é\n", "z"])
    if draw(st.booleans()):
        entries["__metadata__"] = draw(st.dictionaries(keys, st.text(max_size=3)))
    items = draw(st.permutations(list(entries.items())))
    spaces = b" " * draw(st.integers(0, 3))
    escaped = draw(st.booleans())
    indent = draw(st.sampled_from([None, 1]))
    text = json.dumps(dict(items), indent=indent, ensure_ascii=escaped)
    return text.encode() + spaces


def _runs(draw: st.DrawFn, total: int) -> Runs:
    """A cut of `total` units into parts, each for some frame; frames come in the order of bands."""
    cuts = sorted(draw(st.sets(st.integers(1, total - 1), max_size=2))) if total > 1 else []
    sizes = [end - first for first, end in zip([0, *cuts], [*cuts, total], strict=True)]
    bands = sorted(draw(st.integers(0, 1)) for _ in sizes)
    return tuple(zip(sizes, bands, strict=True))


def _values(draw: st.DrawFn, dtype: str, count: int) -> bytes:
    """Finite ones of every size, of both signs, subnormal numbers and zeros."""
    some = st.floats(-100, 100, width=16 if dtype == "F16" else 32)
    values = draw(st.lists(some, min_size=count, max_size=count))
    if dtype == "BF16":
        values = [exact.decoded(exact.encoded([v], "F32")[2:], "BF16")[0] for v in values]
    return exact.encoded(values, dtype)


def _hold(
    draw: st.DrawFn, recipe: Recipe, name: str, dtype: str, m: int, n: int
) -> tuple[list[BaseTensor], View]:
    """Base tensors whose view has m rows of n elements."""

    def held(label: str, shape: tuple[int, ...]) -> BaseTensor:
        count = math.prod(shape)
        if dtype in DELTA:
            data = _values(draw, dtype, count)
        else:
            data = draw(
                st.binary(min_size=count * BITS[dtype] // 8, max_size=count * BITS[dtype] // 8)
            )
        return recipe.hold(f"{name}.{label}", dtype, shape, data)

    kinds = ["reshape", "transpose", "slice"] + (["concatenate", "roll"] if m > 1 else [])
    if BITS[dtype] % 8 or not m:
        kinds = ["reshape"]
    match draw(st.sampled_from(kinds)):
        case "transpose":
            return [held("t", (n, m))], View("transpose")
        case "slice":
            first = draw(st.integers(0, 2))
            return [held("s", (first + m + draw(st.integers(0, 1)), n))], View("slice", first, m)
        case "concatenate":
            return [held("a", (1, n)), held("b", (m - 1, n))], View("concatenate")
        case "roll":
            return [held("o", (m, n))], View("roll", draw(st.integers(1, m - 1)))
        case _:
            shapes = [(m, n), (m * n,), (1, m, n), (n, m)]
            return [held("r", draw(st.sampled_from(shapes)))], View()


def _shape(draw: st.DrawFn, m: int, n: int, new: int) -> tuple[int, ...]:
    return draw(st.sampled_from([(m + new, n), (m + new, 1, n), (m + new, n, 1)]))


def _new(draw: st.DrawFn, dtype: str, n: int) -> tuple[int, bytes]:
    new = draw(st.integers(0, 2))
    size = new * n * BITS[dtype] // 8
    return new, draw(st.binary(min_size=size, max_size=size))


def _same(draw: st.DrawFn, recipe: Recipe, name: str) -> None:
    source = draw(st.sampled_from([*DELTA, "I64", "U8", "BOOL", "F8_E4M3", "C64"]))
    dtype = draw(st.sampled_from(DELTA)) if source in DELTA else source
    m, n = draw(st.integers(0, 4)), draw(st.integers(0, 4))
    base, view = _hold(draw, recipe, name, source, m, n)
    new = _new(draw, dtype, n) if m else (0, b"")
    recipe.same(name, dtype, _shape(draw, m, n, new[0]), base, view, new)


def _dense(draw: st.DrawFn, recipe: Recipe, name: str) -> None:
    source, dtype = draw(st.sampled_from(DELTA)), draw(st.sampled_from(DELTA))
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    base, view = _hold(draw, recipe, name, source, m, n)
    bits = draw(st.sampled_from([1, 2, 3, 7, 8, 15, 16, 23, 24, 31]))
    numbers = st.integers(-(2**bits) + 1, 2**bits - 1)
    values = draw(st.lists(numbers, min_size=m * n, max_size=m * n).filter(any))
    exponent = draw(st.sampled_from([-126, -60, -40, -bits - 3, -bits, 5 - bits]))
    new = _new(draw, dtype, n)
    runs = _runs(draw, m * n)
    recipe.dense(name, dtype, _shape(draw, m, n, new[0]), base, exponent, values, view, new, runs)


def _low_rank(draw: st.DrawFn, recipe: Recipe, name: str) -> None:
    source, dtype = draw(st.sampled_from(DELTA)), draw(st.sampled_from(DELTA))
    m, n = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    rank = draw(st.integers(1, min(m, n)))
    base, view = _hold(draw, recipe, name, source, m, n)
    spread = draw(st.sampled_from([0, 1, 6, 26]))
    least = draw(st.sampled_from([-126, -60, -50, -30, -12, -4])) - spread
    least = max(least, -126)
    singular = sorted(
        draw(st.lists(st.floats(2.0**-20, 2.0**20, width=32), min_size=rank, max_size=rank)),
        reverse=True,
    )
    components = []
    for s in singular:
        bits_a = draw(st.integers(1, 31))
        bits_b = draw(st.integers(1, max(1, min(31, 49 - spread - bits_a))))
        a = _side(draw, m, bits_a)
        b = _side(draw, n, bits_b)
        components.append(Component(least + draw(st.integers(0, spread)), a, b, s))
    least = min(c.e for c in components)
    bound = sum(max(map(abs, c.a)) * max(map(abs, c.b)) << (c.e - least) for c in components)
    assume(bound < 2**53)
    total = sum(singular) * draw(st.sampled_from([1.0, 1.25, 3.0]))
    told = {
        "nuclear_norm": float(total),
        "tau_rank": draw(st.integers(1, min(m, n))),
        "noise_rank": draw(st.integers(0, min(m, n))),
    }
    new = _new(draw, dtype, n)
    recipe.low_rank(
        name, dtype, _shape(draw, m, n, new[0]), base, components, view, new,
        tables=_runs(draw, rank), runs=_runs(draw, rank), **told,
    )  # fmt: skip


def _side(draw: st.DrawFn, length: int, bits: int) -> tuple[int, ...]:
    most = draw(st.integers(1, 7)) if bits <= 3 else 2**bits - 1
    numbers = st.integers(-most, most)
    return tuple(draw(st.lists(numbers, min_size=length, max_size=length).filter(any)))


def _casts(draw: st.DrawFn, recipe: Recipe, names: list[str]) -> None:
    """Casts of some of the tensors; `names` are of all that there are."""
    dtypes = {record["name"]: record["dtype"] for record in recipe.build().header["tensors"]}
    others = [name for name in names if dtypes[name] in DELTA]
    for of in draw(st.lists(st.sampled_from(others), max_size=3)) if others else ():
        name = draw(st.sampled_from("-Z~")) + of[:-1] + draw(st.sampled_from("az"))
        if name not in dtypes:
            dtypes[name] = draw(st.sampled_from(DELTA))
            recipe.cast(name, dtypes[name], of)
    try:
        recipe.build()
    except exact.NotFinite:
        assume(False)


def _raw(draw: st.DrawFn, recipe: Recipe, name: str) -> None:
    dtype = draw(st.sampled_from(list(BITS)))
    shape = draw(st.sampled_from([(), (0,), (4,), (2, 2), (3, 8), (0, 5)]))
    size, rest = divmod(math.prod(shape) * BITS[dtype], 8)
    assume(not rest)
    data = draw(st.binary(min_size=size, max_size=size))
    reason = draw(st.sampled_from(list(RAW_REASONS)))
    recipe.raw(name, dtype, shape, data, reason, _runs(draw, size) if size else ())
