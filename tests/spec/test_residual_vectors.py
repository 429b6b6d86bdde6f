"""The golden residuals of format version 1: both readers give what spec/vectors/residual says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from trained_pair import one_thread

from dsvd_registry.errors import ContainerError, DsvdError, ResultMismatch, UnsupportedFeature

from .make_residual_vectors import VECTORS, files
from .readers import SPEC, decoder, files_in
from .residual_building import frames_of, residual_header_of, told
from .residual_readers import (
    decoder_gives_source,
    package_writes_source,
    written_files,
)
from .sealing import unzstd

LISTING = json.loads((VECTORS / "vectors.json").read_bytes())
VALID, INVALID = LISTING["valid"], LISTING["invalid"]
ERRORS: dict[str, type[DsvdError]] = {
    "container": ContainerError,
    "unsupported": UnsupportedFeature,
    "result": ResultMismatch,
}

Vector = dict[str, Any]


def over(name: str) -> tuple[Path, Path]:
    """The container of a valid vector, and its base: a file or a folder."""
    folder = VECTORS / f"valid/{name}.base"
    base = folder if folder.is_dir() else folder.with_suffix(".base.safetensors")
    return VECTORS / f"valid/{name}.dsvd", base


@pytest.mark.parametrize("vector", VALID, ids=lambda vector: vector["name"])
def test_valid(vector: Vector, tmp_path: Path) -> None:
    container, base = over(vector["name"])
    residual = VECTORS / f"valid/{vector['name']}.dsvdr"
    with one_thread():
        package_writes_source(container, base, residual, tmp_path / "source")
    made = written_files(tmp_path / "source")
    assert [told(path, file) for path, file in sorted(made.items())] == vector["source"]
    given = decoder_gives_source(container, base, residual)
    assert (given if isinstance(given, dict) else {"model.safetensors": given}) == made


@pytest.mark.parametrize("vector", INVALID, ids=lambda vector: vector["name"])
def test_invalid(vector: Vector, tmp_path: Path) -> None:
    """Refused with the right error by both readers, and nothing is left behind.

    Seen to fail with each check of `dsvd_registry.residual` taken out, one after another; where the
    file is refused for something else then, a test in tests/residual fails in its place.
    """
    container, base = over(vector["of"])
    residual = VECTORS / f"invalid/{vector['name']}.dsvdr"
    with pytest.raises(DsvdError) as caught, one_thread():
        package_writes_source(container, base, residual, tmp_path / "source")
    assert type(caught.value) is ERRORS[vector["error"]], str(caught.value)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(decoder.InvalidContainer):
        decoder_gives_source(container, base, residual)


@pytest.mark.parametrize("name", ["plain", "tree"])
def test_command_line_of_the_decoder(name: str, tmp_path: Path) -> None:
    """It writes what it gives, a file or a folder; a refused residual leaves nothing behind."""
    container, base = over(name)
    residual = VECTORS / f"valid/{name}.dsvdr"
    command = [sys.executable, str(SPEC / "reference_residual.py"), container, base]
    good = subprocess.run(
        [*command, residual, tmp_path / "out"], capture_output=True, text=True, cwd=tmp_path
    )
    assert (good.returncode, good.stderr) == (0, "")
    given = decoder_gives_source(container, base, residual)
    assert (files_in(tmp_path / "out") or (tmp_path / "out").read_bytes()) == given
    cut = tmp_path / "cut"
    cut.write_bytes(residual.read_bytes()[:-1])
    bad = subprocess.run([*command, cut, tmp_path / "bad"], capture_output=True, text=True)
    assert bad.returncode == 1
    assert bad.stderr == "InvalidContainer: the file must end with its last frame\n"
    assert {path.name for path in tmp_path.iterdir()} == {"cut", "out"}


def test_every_file_is_listed() -> None:
    there = set(files_in(VECTORS))
    listed = {"README.md", "vectors.json"}
    listed |= {f"invalid/{vector['name']}.dsvdr" for vector in INVALID}
    for vector in VALID:
        container, base = over(vector["name"])
        bases = (path for path in base.rglob("*") if path.is_file()) if base.is_dir() else (base,)
        listed |= {path.relative_to(VECTORS).as_posix() for path in (container, *bases)}
        listed.add(f"valid/{vector['name']}.dsvdr")
    assert there == listed
    frozen = (name for name in listed if name.startswith(("valid/", "invalid/")))
    sizes = [(VECTORS / name).stat().st_size for name in frozen]
    assert max(sizes) < 4096 and sum(sizes) < 122_880


def test_made_again() -> None:
    """`make_residual_vectors` gives the committed set again, as test_vectors.py has it."""
    made = files()
    if zstandard.ZSTD_VERSION == (1, 5, 7):
        for name, data in made.items():
            assert (VECTORS / name).read_bytes() == data, name
    for name, data in made.items():
        if name.startswith("valid/") and name.endswith(".dsvdr"):
            assert independent_of_zstd(data) == independent_of_zstd((VECTORS / name).read_bytes())


def independent_of_zstd(file: bytes) -> object:
    header = residual_header_of(file)
    del header["container"]
    for result in header["results"]:
        del result["sha256"]
    for frame in header["frames"]:
        del frame["stored"], frame["sha256"]
    return header, [unzstd(frame) for frame in frames_of(file)]
