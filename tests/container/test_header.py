"""Rules of single fields: `parse_header` refuses a broken one, and names the field."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import Any

import pytest
from spec.building import Built
from spec.exact import Json, canonical
from spec.valid_vectors import fidelity_budget, fidelity_max_error

from dsvd_registry.container.header import content_digest, header_json
from dsvd_registry.container.parse_header import parse_header
from dsvd_registry.container.records import Fidelity
from dsvd_registry.errors import ContainerError, UnsupportedFeature
from dsvd_registry.hashing import sha256

DENSE, LOW, RAW, ROWS = range(4)  # the tensors of `small`
Path = tuple[str | int, ...]
ABSENT = object()


def changed(header: Json, path: Path, value: object) -> Json:
    header = copy.deepcopy(header)
    place: Any = header
    for step in path[:-1]:
        place = place[step]
    if value is ABSENT:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return header


def paths(value: object, path: Path = ()) -> list[Path]:
    """Paths to every field of every object."""
    found: list[Path] = []
    if isinstance(value, dict):
        for key, item in value.items():
            found += [(*path, key), *paths(item, (*path, key))]
    elif isinstance(value, list):
        for i, item in enumerate(value):
            found += paths(item, (*path, i))
    return found


def test_back_and_forth(small: Built) -> None:
    text = canonical(small.header)
    header = parse_header(text, 100)
    assert header_json(header) == text
    starts = [frame.offset for frame in header.frames]
    assert starts[0] == 100
    assert starts[1] == 100 + header.frames[0].stored
    without = {key: value for key, value in small.header.items() if key != "results"}
    assert content_digest(header) == sha256(canonical(without))


@pytest.fixture(params=["small", "fidelity_max_error", "fidelity_budget"])
def some(request: pytest.FixtureRequest, small: Built) -> Json:
    """The header of a container, in turn without a feature and with one."""
    made = {"fidelity_max_error": fidelity_max_error, "fidelity_budget": fidelity_budget}
    return made[request.param]().build().header if request.param in made else small.header


def test_no_field_may_be_missing_or_unknown(some: Json) -> None:
    for path in paths(some):
        unknown = (*path[:-1], "unknown")
        with pytest.raises(ContainerError, match="unknown"):
            parse_header(canonical(changed(some, unknown, 0)), 0)
        if path[-1] == "new_rows" or path[-1] in ("max_error", "budget"):
            continue
        with pytest.raises(ContainerError):
            parse_header(canonical(changed(some, path, ABSENT)), 0)


def test_no_field_takes_another_type(some: Json) -> None:
    for path in paths(some):
        for other in (None, True, [[]], {"x": 1}, "", -(10**17), 10**17, -0.5):
            with pytest.raises(ContainerError):
                parse_header(canonical(changed(some, path, other)), 0)


@pytest.mark.parametrize(
    "fidelity", [Fidelity(0.040625, max_error=0.05), Fidelity(0.0, budget=2**53 - 1)]
)
def test_fidelity(small: Built, fidelity: Fidelity) -> None:
    """The feature is named by itself, and is part of what the content digest covers."""
    plain = parse_header(canonical(small.header), 100)
    assert (plain.encoding.fidelity, plain.requires) == (None, ())
    header = replace(plain, encoding=replace(plain.encoding, fidelity=fidelity))
    assert header.requires == ("fidelity",)
    assert b'"requires":["fidelity"]' in header_json(header)
    assert parse_header(header_json(header), 100) == header
    assert content_digest(header) != content_digest(plain)


ERROR, MAX_ERROR, BUDGET = (
    ("encoding", "fidelity", name) for name in ("error", "max_error", "budget")
)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("requires",), [], "encoding has a field 'fidelity', and requires does not name it"),
        (("requires",), ["fidelity"] * 2, "repeats a name"),
        (ERROR[:-1], ABSENT, "requires names 'fidelity', and encoding has no field"),
        (ERROR[:-1], 0.05, "encoding.fidelity is not an object"),
        (ERROR, ABSENT, "encoding.fidelity has no field 'error'"),
        (ERROR, 0, "error is not a real"),
        (ERROR, -0.1, "error is not a finite number of at least 0"),
        (ERROR, -0.0, "error is not a finite number of at least 0"),
        (MAX_ERROR, 1, "max_error is not a real"),
        (MAX_ERROR, -0.1, "max_error is not a finite number of at least 0"),
        (BUDGET, 0, "budget is outside"),
        (BUDGET, 2**53, "budget is outside"),
        (BUDGET, 1e4, "budget is not an integer"),
        (BUDGET, True, "budget is not an integer"),
    ],
)
def test_fidelity_refused(path: Path, value: object, message: str) -> None:
    header = fidelity_max_error().build().header
    with pytest.raises(ContainerError, match=message) as caught:
        parse_header(canonical(changed(header, path, value)), 0)
    assert type(caught.value) is ContainerError


REAL = ("energy", "nuclear_norm", "base_norm", "norm", "error")
LONG = "é" * 2048 + "x"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("base", "digest"), "AB" * 32, "digest is not 64 hexadecimal digits"),
        (("base", "digest"), "ab" * 33, "digest must have"),
        (("base", "name"), LONG, "name must have 1..4096 bytes"),
        (("encoding", "tau"), 0.0, "tau is outside"),
        (("encoding", "tau"), 1.5, "tau is outside"),
        (("encoding", "tau"), 1, "tau is not a real"),
        (("encoding", "grid_noise"), -0.0, "at least 0"),
        (("source", "format"), "x" * 65, "format must have 1..64 bytes"),
        (("source", "size"), 2**53, "size is outside"),
        (("source", "size"), 1.0, "size is not an integer"),
        (("results",), [], "results must have 1..1 entries"),
        (("results", 0, "path"), LONG, "path must have"),
        (("left_out",), [{"name": "", "reason": "x"}], "name must have"),
        (("left_out",), [{"name": "x", "reason": LONG}], "reason must have"),
        (("left_out",), [{"name": "x"}], "has no field 'reason'"),
        (("left_out",), [5], r"left_out\[0\] is not an object"),
        (("frames", 0, "content"), "factors", "unknown content"),
        (("frames", 0, "content"), ["tables"], "unknown content"),
        (("frames", 0, "raw"), 0, "raw is outside"),
        (("frames", 0, "raw"), 2**26 + 1, "raw is outside"),
        (("frames", 0, "stored"), 2**26 + 2**20 + 1, "stored is outside"),
        (("frames", 0, "xxh3"), "0" * 15, "xxh3 is not 16"),
        (("frames", 0, "parts", 0), [0], r"not \[tensor, count\]"),
        (("frames", 0, "parts", 0), [0, 0], r"not \[tensor, count\]"),
        (("frames", 0, "parts", 0), [-1, 1], r"not \[tensor, count\]"),
        (("frames", 0, "parts", 0), [0, True], r"not \[tensor, count\]"),
        (("frames", 0, "parts", 0), [0, 2**53], r"not \[tensor, count\]"),
        (("frames", 0, "parts", 0), {"tensor": 0}, r"not \[tensor, count\]"),
        (("tensors", LOW, "kind"), "sparse", "unknown kind"),
        (("tensors", LOW, "shape"), [1] * 33, "shape must have 0..32 entries"),
        (("tensors", LOW, "shape"), [3.0, 2], "an entry that is not a size"),
        (("tensors", LOW, "shape"), [True, 2], "an entry that is not a size"),
        (("tensors", LOW, "shape"), [-3, -2], "an entry that is not a size"),
        (("tensors", LOW, "shape"), [2**53, 0], "an entry that is not a size"),
        (("tensors", LOW, "shape"), [2**48, 2, 0], "too many elements"),
        (("tensors", LOW, "shape"), [6], "full_rank is not that of the shape"),
        (("tensors", LOW, "full_rank"), 3, "full_rank is not that of the shape"),
        (("tensors", LOW, "rank"), 3, "rank is outside"),
        (("tensors", LOW, "rank"), 0, "rank is outside"),
        (("tensors", LOW, "tau_rank"), 0, "tau_rank is outside"),
        (("tensors", LOW, "noise_rank"), 3, "noise_rank is outside"),
        (("tensors", LOW, "nuclear_norm"), 0.0, "nuclear_norm is zero"),
        *((("tensors", LOW, name), 1, f"{name} is not a real") for name in REAL),
        *((("tensors", LOW, name), -1.0, f"{name} is not a finite") for name in REAL),
        (("tensors", LOW, "base"), [], "base must have 1..64 entries"),
        (("tensors", LOW, "base", 0, "shape"), [2**48, 2, 0], "too many elements"),
        (("tensors", LOW, "base", 0, "sha256"), "0" * 63, "sha256 is not 64"),
        (("tensors", LOW, "view"), {"kind": "flip"}, "unknown kind"),
        (("tensors", LOW, "view"), {"kind": "slice"}, "has no field 'first'"),
        (("tensors", LOW, "view"), {"kind": "slice", "first": 0, "rows": 0}, "rows is outside"),
        (("tensors", LOW, "view"), {"kind": "slice", "first": -1, "rows": 1}, "first is outside"),
        (("tensors", LOW, "view"), {"kind": "reshape", "rows": 1}, "unknown field 'rows'"),
        (("tensors", DENSE, "exponent"), -127, "exponent is outside"),
        (("tensors", DENSE, "exponent"), 127, "exponent is outside"),
        (("tensors", DENSE, "maximum"), 0, "maximum is outside"),
        (("tensors", DENSE, "maximum"), 2**31, "maximum is outside"),
        (("tensors", RAW, "reason"), "because", "unknown reason"),
        (("tensors", ROWS, "new_rows"), 0, "new_rows is outside"),
    ],
)
def test_refused(small: Built, path: Path, value: object, message: str) -> None:
    with pytest.raises(ContainerError, match=message) as caught:
        parse_header(canonical(changed(small.header, path, value)), 0)
    assert type(caught.value) is ContainerError


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"tau":0.75', b'"tau": 0.75'),
        (b'"tau":0.75', b'"tau":0.750'),
        (b'"tau":0.75', b'"tau":7.5e-1'),
        (b'"tau":0.75', b'"tau":NaN'),
        (b'"tau":0.75', b'"tau":Infinity'),
        (b'"tau":0.75', b'"tau":1e999'),
        (b'"size":6', b'"size":-0'),
        (b'"size":6', b'"size":06'),
        (b'"size":6', b'"size":' + b"9" * 5000),
        (b'"size":6', b'"size":' + b"[" * 100_000),
        (b'"name":"base"', b'"name":"b\\u0061se"'),
        (b'"name":"base"', b'"name":"\\ud800"'),
        (b'"name":"base"', '"name":"é"'.encode()),
        (b'"name":"base"', b'"name":"\xff"'),
        (b'"requires":[]', b'"requires":[],"requires":[]'),
        (b'{"base"', b'\xef\xbb\xbf{"base"'),
        (b'{"base"', b'[{"base"'),
    ],
)
def test_another_spelling(small: Built, old: bytes, new: bytes) -> None:
    text = canonical(small.header)
    assert old in text
    with pytest.raises(ContainerError):
        parse_header(text.replace(old, new, 1), 0)


@pytest.mark.parametrize("text", [b"", b"[]", b"1", b"null", b'"x"', b"{}", b"{"])
def test_no_header(text: bytes) -> None:
    with pytest.raises(ContainerError):
        parse_header(text, 0)


def test_too_many_entries(small: Built) -> None:
    entry = {"name": "x", "reason": "y"}
    most = changed(small.header, ("left_out",), [entry] * 2**17)
    assert len(parse_header(canonical(most), 0).left_out) == 2**17
    more = changed(small.header, ("left_out",), [entry] * (2**17 + 1))
    with pytest.raises(ContainerError, match="left_out must have"):
        parse_header(canonical(more), 0)
    frame = small.header["frames"][0]
    frames = changed(small.header, ("frames",), [5] * (2**18 + 1))
    assert frame and len(json.dumps(frames)) < 2**24
    with pytest.raises(ContainerError, match="frames must have"):
        parse_header(canonical(frames), 0)


def test_unsupported_is_told_apart(small: Built) -> None:
    with pytest.raises(UnsupportedFeature, match="'tiles'"):
        parse_header(canonical(changed(small.header, ("requires",), ["tiles"])), 0)
