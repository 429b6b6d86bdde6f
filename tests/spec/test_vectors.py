"""The golden files of format version 1: both readers give what spec/vectors says.

These files are FROZEN. A later version of the package reads every valid one and gives the same
bytes, and refuses every invalid one; a change that needs another file here is another format.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import zstandard
from trained_pair import one_thread

from dsvd_registry.errors import (
    BaseMismatch,
    ContainerError,
    DsvdError,
    ResultMismatch,
    TauNotServed,
    UnsupportedFeature,
)

from .building import safetensors
from .make_vectors import VECTORS, files
from .readers import decoder, decoder_gives, package_gives, package_writes
from .sealing import MAGIC, frames_of, text_of

LISTING = json.loads((VECTORS / "vectors.json").read_bytes())
VALID, INVALID = LISTING["valid"], LISTING["invalid"]
ERRORS: dict[str, type[DsvdError]] = {
    "container": ContainerError,
    "unsupported": UnsupportedFeature,
    "base": BaseMismatch,
    "result": ResultMismatch,
}

Vector = dict[str, Any]
valid = pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["name"])
invalid = pytest.mark.parametrize("vector", INVALID, ids=lambda vector: vector["name"])


def valid_files(name: str) -> tuple[Path, Path]:
    return VECTORS / f"valid/{name}.dsvd", VECTORS / f"valid/{name}.base.safetensors"


@valid
def test_valid(vector: Vector, tmp_path: Path) -> None:
    file, base = valid_files(vector["name"])
    with one_thread():
        package_writes(file, base, tmp_path / "result")
        result = (tmp_path / "result").read_bytes()
        assert told(result) == vector["result"]
        assert decoder_gives(file, base) == result
        assert decoder_gives(file, base, vector["tau"]) == result
        for lower in vector["lower"]:
            result = package_gives(file, base, lower["tau"])
            assert {"tau": lower["tau"], **told(result)} == lower
            assert decoder_gives(file, base, lower["tau"]) == result


@valid
def test_tau_not_served(vector: Vector) -> None:
    file, base = valid_files(vector["name"])
    above = [1.5] if vector["tau"] == 1 else [1.0, vector["tau"] + 1e-15]
    for tau in vector["not_served"] + above:
        with pytest.raises(TauNotServed):
            package_gives(file, base, tau)
        with pytest.raises(decoder.InvalidContainer):
            decoder_gives(file, base, tau)


@valid
def test_error_of_fidelity(vector: Vector) -> None:
    """The recorded error is that of the records; readers do not compare them."""
    header = json.loads(text_of(valid_files(vector["name"])[0].read_bytes()))
    fidelity = header["encoding"].get("fidelity")
    assert (fidelity is not None) == ("fidelity" in vector["name"])
    if fidelity is not None:
        deltas = [t for t in header["tensors"] if t["kind"] in ("low_rank", "dense")]
        whole = math.hypot(*(t["norm"] for t in deltas))
        left = math.hypot(*(t["norm"] * t["error"] for t in deltas))
        assert fidelity["error"] == pytest.approx(left / whole if whole else 0.0, rel=1e-15)


@pytest.mark.parametrize("name", ["views", "same-odd-dtypes", "low-rank-dtypes"])
def test_any_base_that_suits(name: str, tmp_path: Path) -> None:
    """What counts of a base is what its tensors hold, not their names or what else there is."""
    file, base = valid_files(name)
    tensors = decoder.read_safetensors(base.read_bytes())
    other = {f"{i} x": tensors[key] for i, key in enumerate(reversed(tensors))}
    other |= {"more": ("U8", (3,), b"abc")}
    (tmp_path / "other.safetensors").write_bytes(safetensors(other))
    tau = next(vector["tau"] for vector in VALID if vector["name"] == name)
    expected = package_gives(file, base, tau)
    assert package_gives(file, tmp_path / "other.safetensors", tau) == expected
    assert decoder_gives(file, tmp_path / "other.safetensors") == expected


def told(result: bytes) -> Vector:
    return {"sha256": hashlib.sha256(result).hexdigest(), "size": len(result)}


@invalid
def test_invalid(vector: Vector, tmp_path: Path) -> None:
    """Refused with the right error by both readers, and nothing is left behind."""
    file = VECTORS / f"invalid/{vector['name']}.dsvd"
    _, base = valid_files(vector["base"])
    with pytest.raises(DsvdError) as caught, one_thread():
        package_writes(file, base, tmp_path / "result")
    expected = ERRORS[vector["error"]]
    assert isinstance(caught.value, expected), (type(caught.value), str(caught.value))
    if expected is ContainerError:
        assert type(caught.value) is ContainerError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(decoder.InvalidContainer):
        decoder_gives(file, base)


def test_every_file_is_listed() -> None:
    there = {path.relative_to(VECTORS).as_posix() for path in VECTORS.rglob("*.*")}
    listed = {"README.md", "vectors.json"}
    listed |= {f"invalid/{vector['name']}.dsvd" for vector in INVALID}
    for vector in VALID:
        listed |= {f"valid/{vector['name']}.dsvd", f"valid/{vector['name']}.base.safetensors"}
    assert there == listed
    assert sum((VECTORS / name).stat().st_size for name in listed) < 450_000


def test_made_again() -> None:
    """`make_vectors` gives the committed set again.

    Byte for byte with the zstd that made them. Another zstd may compress to other bytes, and then
    `stored`, the checksums and all digests over them differ without any being wrong: what is
    compared then is everything that zstd has no part in.
    """
    made = files()
    if zstandard.ZSTD_VERSION == (1, 5, 7):
        for name, data in made.items():
            assert (VECTORS / name).read_bytes() == data, name
    for name, data in made.items():
        if name.startswith("valid/"):
            assert independent_of_zstd(data) == independent_of_zstd((VECTORS / name).read_bytes())


def independent_of_zstd(file: bytes) -> object:
    if not file.startswith(MAGIC):
        return file
    header = json.loads(text_of(file))
    del header["payload_sha256"], header["results"][0]["sha256"], header["source"]
    header["encoding"].get("fidelity", {}).pop("budget", 0)  # it may be the size of the file
    for frame in header["frames"]:
        del frame["stored"], frame["xxh3"]
    contents = [zstandard.ZstdDecompressor().decompress(frame) for frame in frames_of(file)]
    return header, contents
