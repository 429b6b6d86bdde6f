"""A container cut, with a bit flipped, or crafted: a typed error, and never anything else."""

from __future__ import annotations

import math
import random
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spec.sealing import header_bytes_of, header_of, payload_of, prologue, sealed, zstd

from dsvd_registry import Registry
from dsvd_registry.container import limits
from dsvd_registry.container.reader import Container
from dsvd_registry.container.records import DenseRecord, LowRankRecord
from dsvd_registry.errors import ContainerError, DsvdError, UnsupportedFeature

from .conftest import Pair, files_in, object_path, replace_bytes, write_pair
from .crafting import HeaderJson, refilled, rewritten


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """One tensor of each kind, so that the header is small."""
    torch.manual_seed(9)
    base = {"low": torch.randn(24, 32), "dense": torch.randn(16), "same": torch.ones(3)}
    tuned = {
        "low": base["low"] + 1e-3 * torch.randn(24, 4) @ torch.randn(4, 32),
        "dense": base["dense"] + 1e-3 * torch.randn(16),
        "same": torch.ones(3),
        "raw": torch.randn(7),
    }
    return write_pair(tmp_path_factory.mktemp("small"), base, tuned)


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory, small: Pair) -> Registry:
    """A registry whose one container is to be damaged."""
    registry = Registry.init(tmp_path_factory.mktemp("victim") / "registry")
    registry.add_base("base", small.base_file)
    registry.add(small.tuned_file, base="base", name="subject", tau=1.0)
    kinds = {row.name: row.kind for row in registry.report("subject").tensors}
    assert kinds == {"low": "low_rank", "dense": "dense", "same": "same", "raw": "raw"}
    return registry


@pytest.fixture
def good(victim: Registry, tmp_path: Path) -> Path:
    """A copy of the container, valid so far."""
    path = tmp_path / "good.dsvd"
    path.write_bytes(object_path(victim.folder, victim.version("subject").container).read_bytes())
    read_all(path)
    return path


def read_all(path: Path, *, checksums: bool = True) -> None:
    """Everything that a container holds."""
    with Container(path) as opened:
        if checksums:
            opened.check_file()
        opened.source_headers()
        list(opened.part_sizes())
        for index, record in enumerate(opened.header.tensors):
            opened.raw(index)
            if isinstance(record, LowRankRecord):
                opened.components(index, record.rank)
            if isinstance(record, DenseRecord):
                opened.elements(index)


def assert_refused(path: Path, data: bytes, error: type[DsvdError] = ContainerError) -> DsvdError:
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        read_all(path)
    return caught.value


def test_cut_anywhere(good: Path, tmp_path: Path) -> None:
    data, path = good.read_bytes(), tmp_path / "cut.dsvd"
    for length in range(len(data)):
        error = assert_refused(path, data[:length])
        assert str(path) in str(error), length


def test_followed_by_anything(good: Path, tmp_path: Path) -> None:
    for more in (b"\0", b"\x28\xb5\x2f\xfd", good.read_bytes()):
        error = assert_refused(tmp_path / "long.dsvd", good.read_bytes() + more)
        assert "followed by something else" in str(error)


def test_any_one_bit(good: Path, tmp_path: Path) -> None:
    data, path = good.read_bytes(), tmp_path / "flipped.dsvd"
    chance = random.Random(11)
    places = {*range(64 * 8), *(chance.randrange(len(data) * 8) for _ in range(1500))}
    for place in sorted(places):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        for checksums in (True, False):
            with pytest.raises(ContainerError):
                read_all(path, checksums=checksums)


def test_random_bytes(tmp_path: Path) -> None:
    chance = random.Random(12)
    for _ in range(300):
        noise = chance.randbytes(chance.randrange(200))
        assert_refused(tmp_path / "noise.dsvd", limits.MAGIC[: chance.randrange(9)] + noise)


def low(header: HeaderJson) -> dict[str, Any]:
    """The record of the low-rank tensor."""
    found: dict[str, Any] = next(t for t in header["tensors"] if t["kind"] == "low_rank")
    return found


def dense(header: HeaderJson) -> dict[str, Any]:
    found: dict[str, Any] = next(t for t in header["tensors"] if t["kind"] == "dense")
    return found


def frame(header: HeaderJson, content: str) -> dict[str, Any]:
    found: dict[str, Any] = next(f for f in header["frames"] if f["content"] == content)
    return found


def part(tensor: int, count: int) -> dict[str, int]:
    return {"tensor": tensor, "count": count}


Change = Callable[[HeaderJson], object]
HEADERS: dict[str, Change] = {
    "rank over the full rank": lambda h: low(h).update(rank=25),
    "rank 0": lambda h: low(h).update(rank=0),
    "another rank": lambda h: low(h).update(rank=low(h)["rank"] - 1),
    "tau_rank over the full rank": lambda h: low(h).update(tau_rank=25),
    "noise_rank over the full rank": lambda h: low(h).update(noise_rank=25),
    "an error of minus infinity": lambda h: low(h).update(error=-math.inf),
    "33 dimensions": lambda h: low(h).update(shape=[1] * 31 + [24, 32]),
    "a dimension of 2^53": lambda h: low(h).update(shape=[2**53, 1]),
    "too many elements": lambda h: low(h).update(shape=[2**40, 2**20]),
    "a shape that is not its base's": lambda h: low(h).update(shape=[32, 32]),
    "more new rows than rows": lambda h: low(h).update(new_rows=24),
    "an unknown dtype": lambda h: low(h).update(dtype=31),
    "an integer dtype": lambda h: low(h).update(dtype="I32"),
    "an unknown kind": lambda h: low(h).update(kind=17),
    "an unknown view": lambda h: low(h)["view"].update(kind=9),
    "a view of two tensors": lambda h: low(h).update(base=low(h)["base"] * 2),
    "65 base tensors": lambda h: low(h).update(
        base=low(h)["base"] * 65, view={"kind": "concatenate"}
    ),
    "a slice outside": lambda h: low(h).update(view={"kind": "slice", "first": 1, "rows": 24}),
    "an exponent of 127": lambda h: dense(h).update(exponent=127),
    "an exponent of 126 with bits": lambda h: dense(h).update(exponent=126),
    "a maximum of 2^31": lambda h: dense(h).update(maximum=2**31),
    "a maximum of 0": lambda h: dense(h).update(maximum=0),
    "another maximum": lambda h: dense(h).update(maximum=dense(h)["maximum"] + 1),
    "a frame of 2^26 + 1 bytes": lambda h: frame(h, "components").update(raw=2**26 + 1),
    "a frame that is longer": lambda h: frame(h, "components").update(raw=2**26),
    "a stored frame over the limit": lambda h: frame(h, "components").update(stored=2**27),
    "a frame of 0 bytes": lambda h: frame(h, "bytes").update(raw=0),
    "a frame without parts": lambda h: frame(h, "bytes").update(parts=[]),
    "a part of tensor 99": lambda h: frame(h, "bytes").update(parts=[part(99, 28)]),
    "a part of another tensor": lambda h: frame(h, "bytes").update(parts=[part(0, 28)]),
    "a part too long": lambda h: frame(h, "bytes").update(parts=[part(2, 29)]),
    "a part of 2^53": lambda h: frame(h, "bytes").update(parts=[part(2, 2**53)]),
    "an unknown content": lambda h: frame(h, "bytes").update(content=6),
    "frames in another order": lambda h: h["frames"].reverse(),
    "a frame twice": lambda h: h["frames"].append(h["frames"][-1]),
    "no frames": lambda h: h.update(frames=[]),
    "another digest": lambda h: frame(h, "bytes").update(sha256="0" * 64),
    "tensors not sorted": lambda h: h["tensors"].reverse(),
    "a tensor twice": lambda h: h["tensors"].append(h["tensors"][-1]),
    "an empty name": lambda h: low(h).update(name=""),
    "a name of 4097 bytes": lambda h: low(h).update(name="é" * 2048 + "a"),
    "half a surrogate pair": lambda h: low(h).update(name="\ud800"),
    "131073 left out": lambda h: h.update(left_out=[{"name": "a", "reason": "b"}] * (2**17 + 1)),
    "tau over 1": lambda h: h["encoding"].update(tau=10**6 + 1),
    "tau 0": lambda h: h["encoding"].update(tau=0),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_breaks_a_rule(good: Path, tmp_path: Path, name: str) -> None:
    assert_refused(tmp_path / "bad.dsvd", rewritten(good, HEADERS[name]))


def test_a_required_feature_is_named(good: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.dsvd"
    # Before anything else: what stands beside it may be new too.
    changed = rewritten(good, lambda h: h.update(requires=["sharding"], left_out=[], tensors=[]))
    error = assert_refused(path, changed, UnsupportedFeature)
    assert "'sharding'" in str(error)
    error = assert_refused(path, good.read_bytes()[:8] + b"\x02" + good.read_bytes()[9:])
    assert isinstance(error, UnsupportedFeature)
    assert "version 2" in str(error)


def test_what_a_prologue_claims_takes_no_memory(good: Path, tmp_path: Path) -> None:
    data, path = good.read_bytes(), tmp_path / "bad.dsvd"
    header, stored = header_of(data), zstd(header_bytes_of(data))
    claims = [
        prologue(stored, size) + stored + payload_of(data)
        for size in (limits.FREE_HEADER, limits.FREE_HEADER + 1, limits.MAX_HEADER + 1, 2**32 - 1)
    ]
    claims += [
        data[:12] + struct.pack("<I", 2**32 - 1) + data[16:],
        data[:12] + struct.pack("<I", limits.MAX_HEADER_STORED) + data[16:],
    ]
    raw = low(header)["rank"] * 2**20
    claims.append(rewritten(good, lambda h: frame(h, "components").update(raw=raw)))
    claims.append(rewritten(good, lambda h: low(h)["base"][0].update(shape=[2**24, 2**24])))
    claims.append(sealed(bytes(limits.FREE_HEADER), payload_of(data)))
    for claim in claims[:-1]:
        tracemalloc.start()
        assert_refused(path, claim)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2**21
    assert_refused(path, claims[-1])


def table(header: HeaderJson, frames: list[bytes], column: str, value: int) -> None:
    """Put `value` into the first component's entry of a column of the component table."""
    rank = low(header)["rank"]
    index = next(i for i, f in enumerate(header["frames"]) if f["content"] == "tables")
    data = bytearray(frames[index])
    if column == "e":
        data[0] = value % 256
    else:
        start = rank * {"a": 1, "b": 5, "s": 9}[column]
        for plane in range(4):
            data[start + plane * rank] = value >> 8 * plane & 0xFF
    frames[index] = bytes(data)


def float_bits(value: float) -> int:
    return int(np.array(value, "<f4").view("<u4"))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("e", -127),
        ("e", 127),
        ("e", 100),  # then M is over 2^53
        ("a", 0),
        ("b", 0),
        ("a", 2**31),
        ("b", 2**32 - 1),
        ("s", float_bits(0.0)),
        ("s", float_bits(-1.0)),
        ("s", float_bits(float("nan"))),
        ("s", float_bits(float("inf"))),
        ("s", float_bits(1e-30)),  # the next one rises
    ],
)
def test_a_component_table_that_breaks_a_rule(
    good: Path, tmp_path: Path, column: str, value: int
) -> None:
    changed = refilled(good, lambda header, frames: table(header, frames, column, value))
    (tmp_path / "bad.dsvd").write_bytes(changed)
    with pytest.raises(ContainerError):
        Container(tmp_path / "bad.dsvd")


@pytest.mark.parametrize("content", ["components", "elements"])
def test_numbers_that_miss_their_maximum(good: Path, tmp_path: Path, content: str) -> None:
    def zero(header: HeaderJson, frames: list[bytes]) -> None:
        index = next(i for i, f in enumerate(header["frames"]) if f["content"] == content)
        frames[index] = bytes(len(frames[index]))

    error = assert_refused(tmp_path / "bad.dsvd", refilled(good, zero))
    assert "tensor" in str(error)


def refuse_to_materialize(victim: Registry, data: bytes, out: Path) -> DsvdError:
    """Materialise with `data` in the container's place; it must fail and leave nothing."""
    path = object_path(victim.folder, victim.version("subject").container)
    before = path.read_bytes()
    out.mkdir()
    try:
        replace_bytes(path, data)
        with pytest.raises(DsvdError) as caught:
            victim.materialize("subject", out / "out.safetensors")
        assert not victim.verify(deep=True).is_well
    finally:
        replace_bytes(path, before)
    assert files_in(out) == {}
    return caught.value


SOURCE_HEADERS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another name": lambda h: h.update(other=h.pop("low")),
    "one tensor more": lambda h: h.update(
        more={"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    ),
    "another dtype": lambda h: h["low"].update(dtype="I32"),
    "another shape": lambda h: h["low"].update(shape=[32, 24]),
    "a hole": lambda h: h["raw"].update(data_offsets=[10**6, 10**6 + 28]),
    "no tensor": lambda h: h.clear(),
}


@pytest.mark.parametrize("name", SOURCE_HEADERS)
def test_a_source_header_of_other_tensors(
    victim: Registry, good: Path, tmp_path: Path, name: str
) -> None:
    import json

    def change(header: HeaderJson, frames: list[bytes]) -> None:
        index = next(i for i, f in enumerate(header["frames"]) if f["content"] == "source_header")
        value = json.loads(frames[index])
        SOURCE_HEADERS[name](value)
        frames[index] = json.dumps(value).encode()

    refuse_to_materialize(victim, refilled(good, change), tmp_path / "out")


@pytest.mark.parametrize("kind", ["low_rank", "dense", "same"])
@pytest.mark.parametrize("shape", [[5], [24, 16], [1, 1000], []])
def test_a_base_tensor_of_another_size_than_its_bytes(
    victim: Registry, good: Path, tmp_path: Path, kind: str, shape: list[int]
) -> None:
    # The SHA-256 is that of a tensor of the base; its shape as given here is a lie.
    def change(header: HeaderJson) -> None:
        record = next(t for t in header["tensors"] if t["kind"] == kind)
        record["base"][0]["shape"] = shape
        if kind == "same":
            record["shape"] = shape

    data = rewritten(good, change)
    refuse_to_materialize(victim, data, tmp_path / "out")


def test_a_base_tensor_that_lies_about_its_size(
    victim: Registry, good: Path, tmp_path: Path
) -> None:
    # As above, and consistent in itself: `low` (24, 32) against the base's `dense` of 16 elements.
    def change(header: HeaderJson) -> None:
        other = dense(header)["base"][0]
        low(header)["base"] = [other | {"shape": [24, 32]}]

    refuse_to_materialize(victim, rewritten(good, change), tmp_path / "out")
