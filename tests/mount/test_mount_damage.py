"""Damage under a mount: readers get an error, never wrong bytes, and the log names what is damaged."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from dsvd_registry import Registry

from .conftest import Mount, Sources


def objects(registry: Path) -> dict[str, Path]:
    """The objects that exact@1 is made from."""
    with Registry.open(registry) as opened:
        version, base = opened.version("exact"), opened.base("sd15")
        assert version.residual is not None
        digests = {
            "container": version.container,
            "residual": version.residual.sha256,
            "base": base.file,
        }
        return {name: opened.repository.objects.local_file(sha) for name, sha in digests.items()}


def flip(path: Path) -> None:
    """Flip a bit of most of the file's bytes, in place, as a failing disk would."""
    path.chmod(0o600)
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        data = bytes(byte ^ 4 for byte in file.read())
        file.seek(size // 3)
        file.write(data)


def pieces(path: Path) -> dict[int, bytes | int]:
    """Each 64 KiB of a file, read around the kernel's read-ahead; an error's number in its place."""
    found: dict[int, bytes | int] = {}
    descriptor = os.open(path, os.O_RDONLY)
    try:
        for offset in range(0, os.fstat(descriptor).st_size, 1 << 16):
            try:
                found[offset] = os.pread(descriptor, 1 << 16, offset)
            except OSError as error:
                found[offset] = error.errno or 0
    finally:
        os.close(descriptor)
    return found


@pytest.mark.parametrize("what", ["container", "residual", "base"])
def test_damage_under_an_open_file(mounted: Mount, sources: Sources, what: str) -> None:
    truth = sources.tuned_file.read_bytes()
    path = mounted.checkpoints / "exact.safetensors"
    descriptor = os.open(path, os.O_RDONLY)
    try:
        assert os.pread(descriptor, 100, 0) == truth[:100]
        damaged = objects(mounted.registry)[what]
        flip(damaged)
        try:
            found = pieces(path)
        except OSError as error:
            found = {0: error.errno or 0}
    finally:
        os.close(descriptor)
    errors = {piece for piece in found.values() if isinstance(piece, int)}
    assert errors == {errno.EIO}
    for offset, piece in found.items():
        assert isinstance(piece, int) or piece == truth[offset : offset + len(piece)]
    named = {"container": "container", "residual": "residual", "base": "sd15"}
    lines = [line for line in mounted.log.splitlines() if "exact@1" in line]
    assert lines
    assert any(damaged.name in line or named[what] in line for line in lines)


def test_a_base_that_is_gone(mounted: Mount) -> None:
    objects(mounted.registry)["base"].unlink()
    with pytest.raises(OSError, match="Input/output"):
        (mounted.checkpoints / "dog.safetensors").read_bytes()
    assert "the base 'sd15' cannot be read" in mounted.log
    assert (mounted.folder / "diffusers" / "pipe" / "model_index.json").read_bytes()
