"""Random residuals: the package's writer and reader, and the decoder beside the spec, agree."""

from __future__ import annotations

import io
import math
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from trained_pair import one_thread

from dsvd_registry.checkpoint.tensor_info import BITS
from dsvd_registry.container.records import Result
from dsvd_registry.container.table import ComponentTable
from dsvd_registry.hashing import sha256
from dsvd_registry.residual.class_groups import Group as OwnGroup
from dsvd_registry.residual.class_groups import pack_groups
from dsvd_registry.residual.ordered import FORMATS, Bits
from dsvd_registry.residual.predicted import Predicted, predicted_floats
from dsvd_registry.residual.records import ResidualTensor
from dsvd_registry.residual.run import ELEMENTS, decode_run, encode_run
from dsvd_registry.residual.writer import ResidualWriter, component_frames, run_frame

from . import exact
from .building import Recipe, safetensors
from .exact import Json, encoded
from .header_bytes import encode
from .random_recipes import recipes
from .readers import decoder
from .residual_building import (
    BASES,
    BuiltResidual,
    Group,
    Lacking,
    apart,
    build,
    class_of,
    last_class,
    rounded,
    run_bytes,
    source_file,
    zigzag,
)
from .residual_readers import (
    decoder_gives_source,
    package_writes_source,
    residual_decoder,
    written_files,
)
from .sealing import sealed, zstd
from .test_random_containers import folder_of

DELTA = ("F32", "F16", "BF16")
quick = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@st.composite
def runs(draw: st.DrawFn) -> tuple[str, list[int], list[int], tuple[Group, ...]]:
    """A dtype, bits of a prediction and of a source, near it or anywhere, and groups."""
    dtype = draw(st.sampled_from(DELTA))
    bits, top = BITS[dtype], last_class(dtype)
    number = st.integers(0, 2**bits - 1)
    size = draw(st.integers(1, 40))
    single = st.integers(0, 2**32 - 1).filter(lambda x: x & 0x7FFFFFFF <= 0x7F800000)  # no NaN
    prediction = draw(st.lists(single, min_size=size, max_size=size))
    far = draw(st.lists(st.integers(0, 40) | number, min_size=size, max_size=size))
    source = [apart(x, z, dtype) for x, z in zip(prediction, far, strict=True)]
    lasts = draw(st.lists(st.integers(0, top - 1), max_size=5, unique=True))
    groups = [
        (last, draw(st.integers(0, bits - 1)), draw(st.integers(0, 4)))
        for last in (*sorted(lasts), top)
    ]
    return dtype, prediction, source, tuple(groups)


@quick
@given(run=runs())
def test_any_groups(run: tuple[str, list[int], list[int], tuple[Group, ...]]) -> None:
    """A plain encoder with any groups; both readers give the source."""
    dtype, prediction, source, groups = run
    content = run_bytes(source, prediction, dtype, groups)
    guess = predicted(prediction, dtype)
    assert decode_run(memoryview(content), guess).tolist() == source
    found = residual_decoder.read_run(content, told_of(prediction, dtype))
    assert found.tolist() == source
    packed = tuple(OwnGroup(last, shift, BASES[code][0]) for last, shift, code in groups)
    assert content.startswith(pack_groups(packed))


@st.composite
def lossless(draw: st.DrawFn) -> BuiltResidual:
    """A random container with casts, and a random source of it near its result."""
    recipe = draw(recipes())
    header = recipe.build().header
    kinds = {record["name"]: record for record in header["tensors"]}
    deltas = [name for name, one in kinds.items() if one["kind"] in ("low_rank", "dense")]
    lacking = {}
    for name in deltas:
        shape, dtype = kinds[name]["shape"], kinds[name]["dtype"]
        elements = math.prod(shape) // max(1, shape[0] if shape else 1)
        elements *= shape[0] - kinds[name].get("new_rows", 0) if shape else 1
        bits = st.integers(0, 2 ** BITS[dtype] - 1)
        lacking[name] = Lacking(draw(st.lists(bits, min_size=elements, max_size=elements)))
    assume(any(record["kind"] == "cast" for record in kinds.values()))
    try:
        return build(recipe, lacking)
    except exact.NotFinite:
        assume(False)
        raise


@settings(
    quick,
    max_examples=60,
    suppress_health_check=[*HealthCheck],
)
@given(built=lossless())
def test_casts(tmp_path: Path, built: BuiltResidual) -> None:
    """They are of the source, whatever the result was; both readers give its files."""
    container, base = tmp_path / "c.dsvd", tmp_path / "base.safetensors"
    residual, source = tmp_path / "r.dsvdr", tmp_path / "source"
    container.write_bytes(built.container.file)
    residual.write_bytes(built.file)
    base.write_bytes(safetensors(built.container.base))
    if built.container.base_files:
        base = folder_of(built.container, tmp_path / "base")
    shutil.rmtree(source, ignore_errors=True)
    source.unlink(missing_ok=True)
    with one_thread():
        package_writes_source(container, base, residual, source)
    assert written_files(source) == built.files
    given_back = decoder_gives_source(container, base, residual)
    is_tree = isinstance(given_back, dict)
    assert (given_back if is_tree else {"model.safetensors": given_back}) == built.files


@quick
@given(run=runs())
def test_runs_of_the_package(run: tuple[str, list[int], list[int], tuple[Group, ...]]) -> None:
    """What the package's encoder chooses, the decoder reads; its `raw` is within the bound."""
    dtype, prediction, source, _ = run
    unsigned = np.dtype(f"u{BITS[dtype] // 8}")
    guess = predicted(prediction, dtype)
    content = run_of(np.array(source, unsigned), guess)
    found = residual_decoder.read_run(content, told_of(prediction, dtype))
    assert found.tolist() == source
    tensor = {"rank": 0, "shape": [len(source)], "dtype": dtype}
    ((_, count, most),) = residual_decoder.frames_of(tensor)
    assert count == len(source) and len(content) <= most


def predicted(xs: Sequence[int], dtype: str) -> Predicted:
    """The prediction that is rounded from these binary32 numbers, given by their bits."""
    bits = np.array([rounded(x, dtype) for x in xs], f"u{BITS[dtype] // 8}")
    return predicted_floats(bits, np.array(xs, "u4"), FORMATS[dtype])


def told_of(xs: Sequence[int], dtype: str) -> Any:
    """The same prediction as the decoder has it."""
    return residual_decoder.predicted_numbers(np.array(xs, "<u4").view("<f4"), dtype)


def run_of(source: Bits, guess: Predicted) -> bytes:
    """What a frame holds that the package makes."""
    frame = run_frame(encode_run(source, guess))
    content: bytes = decoder.decompress(frame.data, frame.raw, "a run")
    return content


@quick
@given(
    u=st.integers(0, 2**32 - 1),
    x=st.integers(0, 2**32 - 1).filter(lambda x: x & 0x7FFFFFFF <= 0x7F800000),
    dtype=st.sampled_from(DELTA),
)
def test_differences(u: int, x: int, dtype: str) -> None:
    """The text's words in plain integers are the decoder's, and undo each other."""
    u %= 2 ** BITS[dtype]
    z = zigzag(u, x, dtype)
    assert 0 <= z < 2 ** BITS[dtype] and apart(x, z, dtype) == u
    told = told_of([x], dtype)
    assert residual_decoder.restored(np.array([z]), told).tolist() == [u]
    assert told.classes.tolist() == [class_of(x, dtype)]


@pytest.mark.parametrize(
    ("dtype", "shape", "rank"),
    [
        ("F16", (ELEMENTS + 5,), 0),
        ("F32", (ELEMENTS // 8 + 1, 8), 2),
        ("BF16", (2, (1 << 21) - 3), 2),  # two frames of components, and runs that end in a row
    ],
)
def test_several_frames(dtype: str, shape: tuple[int, ...], rank: int, tmp_path: Path) -> None:
    """Tensors of several runs, and of several frames of components, through files."""
    container, base = tmp_path / "c.dsvd", tmp_path / "base.safetensors"
    random, of, elements = np.random.default_rng(5), FORMATS[dtype], math.prod(shape)
    header, result = ones(dtype, shape, container, base)
    tensor = ResidualTensor("w", dtype, shape, rank)
    frames, single = [], (decoder.widen(result, dtype)).astype("<f4")
    if rank:
        a = random.integers(-3, 4, (rank, shape[0])).astype(np.int32)
        b = random.integers(-300, 301, (rank, shape[1])).astype(np.int32)
        a[:, 0], b[:, 0] = 3, 300
        exponents = np.array([-14, -15])
        singular = np.array([2, 1], np.float32)
        table = ComponentTable(exponents, np.array([3, 3]), np.array([300, 300]), singular)
        frames += component_frames(tensor, a, b, table)
        delta = (a.T * 2.0**exponents) @ b + 0.0
        single = (decoder.widen(result, dtype) + delta.reshape(-1)).astype("<f4")
    prediction = np.frombuffer(decoder.round_to(single, dtype), of.unsigned)
    guess = predicted_floats(prediction, single.view("<u4"), of)
    source = prediction + random.integers(0, 3, elements).astype(of.unsigned)
    for first in range(0, elements, ELEMENTS):
        run = slice(first, first + ELEMENTS)
        frames.append(run_frame(encode_run(source[run], guess.part(run))))
    assert len(frames) == tensor.frames
    writer, out = ResidualWriter(io.BytesIO()), io.BytesIO()
    writer.add(tensor, frames)
    file = source_file(header, {"w": source.tobytes()})
    results = (Result("model.safetensors", sha256(file), len(file)),)
    writer.write(sha256(container.read_bytes()), results, out)
    residual = tmp_path / "r.dsvdr"
    residual.write_bytes(out.getvalue())
    with one_thread():
        package_writes_source(container, base, residual, tmp_path / "source")
    assert (tmp_path / "source").read_bytes() == file
    assert decoder_gives_source(container, base, residual) == file


def ones(dtype: str, shape: tuple[int, ...], container: Path, base: Path) -> tuple[Json, bytes]:
    """A container of one large tensor `w` of ones, of which the first is moved.

    Made out of the header of a small one: exact fractions of millions would take too long.
    """
    elements = math.prod(shape)
    recipe = Recipe()
    held = recipe.hold("w", dtype, (1,), encoded((1.0,), dtype))
    recipe.dense("w", dtype, (1,), [held], -7, (1,))
    header = recipe.build().header
    result = encoded((1 + 2.0**-7,), dtype) + encoded((1.0,), dtype) * (elements - 1)
    data = encoded((1.0,), dtype) * elements
    base.write_bytes(safetensors({"w": (dtype, shape, data)}))
    content = b"\2" + bytes(-(-elements // 5) - 1)  # five digits in a byte
    frame = zstd(content)
    header["tensors"][0] |= {"shape": list(shape)}
    header["tensors"][0]["base"][0] |= {"shape": list(shape), "sha256": sha256(data)}
    header["frames"][0] |= {
        "parts": [{"tensor": 0, "count": elements}],
        "raw": len(content),
        "stored": len(frame),
    }
    header["frames"][0]["sha256"] = sha256(frame)
    header["results"][0]["size"] = len(exact.result_file(header, {"w": result}, 0.5, None))
    container.write_bytes(sealed(encode(header), frame))
    return header, result
