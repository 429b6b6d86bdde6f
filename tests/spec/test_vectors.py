"""The golden files of format version 1: both readers give what spec/vectors says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
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
from .readers import (
    SPEC,
    decoder,
    decoder_gives,
    files_in,
    package_gives_files,
    package_writes,
    valid_files,
)
from .sealing import MAGIC, frames_of, header_of

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


@valid
def test_valid(vector: Vector, tmp_path: Path) -> None:
    file, base = valid_files(vector["name"])
    with one_thread():
        package_writes(file, base, tmp_path / "result")
        result = written(tmp_path / "result")
        told_of = told(result)
        assert (
            told_of == vector["result"]
            if "result" in vector
            else told_of["files"] == vector["files"]
        )
        assert decoder_gives(file, base) == result
        assert decoder_gives(file, base, vector["tau"]) == result
        for lower in vector["lower"]:
            package_writes(file, base, tmp_path / f"{lower['tau']}", lower["tau"])
            result = written(tmp_path / f"{lower['tau']}")
            assert {"tau": lower["tau"], **told(result)} == lower
            assert decoder_gives(file, base, lower["tau"]) == result


@valid
def test_tau_not_served(vector: Vector) -> None:
    file, base = valid_files(vector["name"])
    above = [1.5] if vector["tau"] == 1 else [1.0, (round(vector["tau"] * 10**6) + 1) / 10**6]
    for tau in vector["not_served"] + above:
        with pytest.raises(TauNotServed):
            package_gives_files(file, base, tau)
        with pytest.raises(decoder.InvalidContainer):
            decoder_gives(file, base, tau)


@pytest.mark.parametrize("name", ["views", "same-odd-dtypes", "low-rank-dtypes", "tree-kept"])
def test_any_base_that_suits(name: str, tmp_path: Path) -> None:
    """What counts of a base is what its tensors hold, not their names or what else there is."""
    file, base = valid_files(name)
    tensors = decoder.read_safetensors(base.read_bytes())
    other = {f"{i} x": tensors[key] for i, key in enumerate(reversed(tensors))}
    other |= {"more": ("U8", (3,), b"abc")}
    (tmp_path / "other.safetensors").write_bytes(safetensors(other))
    tau = next(vector["tau"] for vector in VALID if vector["name"] == name)
    expected = package_gives_files(file, base, tau)
    assert package_gives_files(file, tmp_path / "other.safetensors", tau) == expected
    made = decoder_gives(file, tmp_path / "other.safetensors")
    assert (made if isinstance(made, dict) else {"model.safetensors": made}) == expected


def test_any_folder_that_suits(tmp_path: Path) -> None:
    """Where a file of the base lies does not count, nor which of its files has a tensor."""
    file, base = valid_files("tree-small")
    files = files_in(base)
    other = {**files, "config.json": b"[]", "x/y": b"more"}
    other["vae/a/b"] = other.pop("tokenizer/vocab.json")
    other["other/model.safetensors"] = other.pop("unet/model.safetensors")
    for path, data in other.items():
        (tmp_path / "base" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / path).write_bytes(data)
    expected = package_gives_files(file, base, 0.75)
    assert package_gives_files(file, tmp_path / "base", 0.75) == expected
    assert decoder_gives(file, tmp_path / "base") == expected


@pytest.mark.parametrize("name", ["small", "tree-small"])
def test_command_line_of_the_decoder(name: str, tmp_path: Path) -> None:
    """It writes what it gives, a file or a folder; a refused container leaves nothing behind."""
    file, base = valid_files(name)
    command = [sys.executable, str(SPEC / "reference_decoder.py")]
    good = subprocess.run([*command, file, base, tmp_path / "out"], capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    assert written(tmp_path / "out") == decoder_gives(file, base)
    cut = tmp_path / "cut"
    cut.write_bytes(file.read_bytes()[:-1])
    bad = subprocess.run([*command, cut, base, tmp_path / "bad"], capture_output=True, text=True)
    assert bad.returncode == 1
    assert bad.stderr == "InvalidContainer: the file must end with its last frame\n"
    assert {path.name for path in tmp_path.iterdir()} == {"cut", "out"}


def written(place: Path) -> Any:
    """As `decoder_gives` has it."""
    return place.read_bytes() if place.is_file() else files_in(place)


def told(result: Any) -> Vector:
    """As the listing has it."""
    if isinstance(result, dict):
        return {"files": {path: told(data) for path, data in sorted(result.items())}}
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
        assert not isinstance(caught.value, UnsupportedFeature)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(decoder.InvalidContainer):
        decoder_gives(file, base)


def test_every_file_is_listed() -> None:
    there = {path for path in files_in(VECTORS) if not path.startswith("residual/")}
    listed = {"README.md", "rules.md", "vectors.json"}
    listed |= {f"invalid/{vector['name']}.dsvd" for vector in INVALID}
    for vector in VALID:
        file, base = valid_files(vector["name"])
        bases = (path for path in base.rglob("*") if path.is_file()) if base.is_dir() else (base,)
        listed |= {path.relative_to(VECTORS).as_posix() for path in (file, *bases)}
    assert there == listed
    assert sum((VECTORS / name).stat().st_size for name in listed) < 800_000


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
    header = header_of(file)
    del header["source"]
    for result in header["results"]:
        del result["sha256"]
    for frame in header["frames"]:
        del frame["stored"], frame["sha256"]
    contents = [zstandard.ZstdDecompressor().decompress(frame) for frame in frames_of(file)]
    return header, contents
