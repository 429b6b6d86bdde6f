"""What is damaged under an open result gives an error, and never a byte that is not the result's."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from trained_pair import one_thread

from dsvd_registry import DsvdError, Registry
from dsvd_registry.errors import BaseMismatch, ContainerError, RegistryError
from dsvd_registry.reconstruction import checked_bytes
from dsvd_registry.registry import OpenResult

from .conftest import TAU, Pair, object_path, replace_bytes, write_pickle, write_safetensors
from .readable import in_small_pieces, no_sums, write_pipelines

CACHE = 20_000


@pytest.fixture(scope="module")
def made(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry over a linked base, with a lossy and a lossless version; and what they give."""
    at = tmp_path_factory.mktemp("made")
    write_safetensors(pair.base, at / "base.safetensors")
    write_pickle(pair.base, at / "base.ckpt")
    with one_thread(), Registry.init(at / "registry") as registry:
        registry.add_base("sd15", pair.base_file)
        registry.add(pair.tuned_file, base="sd15", name="lossy", tau=TAU)
        registry.add(pair.tuned_file, base="sd15", name="lossless", tau=TAU, lossless=True)
        registry.materialize("lossy", at / "lossy")
        registry.materialize("lossless", at / "lossless")
    return at


@pytest.fixture
def at(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "made")


@pytest.fixture
def registry(at: Path) -> Iterator[Registry]:
    with in_small_pieces(CACHE), Registry.open(at / "registry") as opened:
        yield opened


def flip_at(path: Path, position: int) -> None:
    """Change one bit in place, as a disk does, so that who has the file open sees it."""
    path.chmod(0o644)
    with path.open("r+b", buffering=0) as file:
        byte = os.pread(file.fileno(), 1, position)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 4]), position)


def pieces(result: OpenResult, whole: bytes) -> tuple[int, list[DsvdError]]:
    """Read all in small steps: the number of right ones, and the errors. A wrong byte fails."""
    right, errors = 0, []
    for at in range(0, len(whole), 500):
        try:
            data = result.read_at(at, 500)
        except DsvdError as error:
            errors.append(error)
        else:
            assert data == whole[at : at + 500]
            right += 1
    return right, errors


def objects_of(registry: Registry, ref: str) -> dict[str, Path]:
    version = registry.version(ref)
    base = registry.base("sd15").file
    found = {"base": base, "container": version.container}
    if version.residual is not None:
        found["residual"] = version.residual.sha256
    return {name: object_path(registry.folder, digest) for name, digest in found.items()}


@pytest.mark.parametrize("ref", ["lossy", "lossless"])
@pytest.mark.parametrize("of", ["base", "container", "residual"])
@pytest.mark.parametrize("is_read_before", [False, True])
def test_a_bit_that_changes_under_an_open_result(
    registry: Registry, at: Path, ref: str, of: str, is_read_before: bool
) -> None:
    """Whether or not its tensor was read before, when the base's SHA-256 was still right."""
    whole, numbers = (at / ref).read_bytes(), random.Random(5)
    objects = objects_of(registry, ref)
    if of not in objects:
        return
    path, found = objects[of], 0
    for _ in range(10):
        size = path.stat().st_size
        position = numbers.randrange(size // 2, size)  # behind the header
        with registry.open_result(ref) as result:
            if is_read_before:
                assert pieces(result, whole) == (-(-len(whole) // 500), [])
            flip_at(path, position)
            right, errors = pieces(result, whole)
            flip_at(path, position)
        assert right > 0
        expected = BaseMismatch if of == "base" else (ContainerError, RegistryError)
        assert all(isinstance(error, expected) for error in errors)
        found += bool(errors)
    # Not every bit counts: a frame that was read already, a tensor that the fine-tune lacks.
    assert found or of == "container"


def test_a_container_that_is_overwritten(registry: Registry, at: Path) -> None:
    path, whole = objects_of(registry, "lossy")["container"], (at / "lossy").read_bytes()
    size = path.stat().st_size
    with registry.open_result("lossy") as result:
        for position in range(size - size // 3, size, 11):
            flip_at(path, position)
        right, errors = pieces(result, whole)
    assert right and errors
    assert all(isinstance(error, ContainerError) for error in errors)


@pytest.mark.parametrize("of", ["base", "container", "residual"])
def test_every_bit_counts_before_it_is_opened(
    registry: Registry, at: Path, of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = random.Random(6)
    path, whole = objects_of(registry, "lossless")[of], (at / "lossless").read_bytes()
    for _ in range(8):
        monkeypatch.setattr(checked_bytes, "_sums", no_sums())
        position = numbers.randrange(path.stat().st_size)
        flip_at(path, position)
        with Registry.open(at / "registry") as fresh:
            if of != "base":
                with pytest.raises((ContainerError, RegistryError)):
                    fresh.open_result("lossless")
            else:
                try:
                    with fresh.open_result("lossless") as result:
                        pieces(result, whole)
                except BaseMismatch:
                    pass  # its header
        flip_at(path, position)


def test_who_opens_it_again_after_a_repair_reads_all(registry: Registry, at: Path) -> None:
    """Also while the reader that met the damage still has it open, and the file is another one."""
    whole = (at / "lossy").read_bytes()
    base = objects_of(registry, "lossy")["base"]
    good = base.read_bytes()
    with registry.open_result("lossy") as result:
        for position in range(len(good) // 2, len(good), 97):
            flip_at(base, position)
        _, errors = pieces(result, whole)
        assert errors
        base.unlink()
        base.write_bytes(good)
        with registry.open_result("lossy") as again:
            assert again.read() == whole


@pytest.mark.parametrize("ending", ["safetensors", "ckpt"])
def test_a_linked_base_of_each_format(made: Path, pair: Pair, tmp_path: Path, ending: str) -> None:
    base = tmp_path / f"base.{ending}"
    shutil.copy(made / base.name, base)
    with in_small_pieces(CACHE), Registry.init(tmp_path / "own") as registry:
        registry.add_base("sd15", base, link=True)
        registry.add(pair.tuned_file, base="sd15", name="lossy", tau=TAU)
        whole = registry.materialize("lossy", tmp_path / "out").path.read_bytes()
        with registry.open_result("lossy") as result:
            assert result.read() == whole
            for position in range(base.stat().st_size // 4, base.stat().st_size, 997):
                flip_at(base, position)
            right, errors = pieces(result, whole)
            assert right and errors


def test_files_without_tensors(tmp_path: Path) -> None:
    """Those of the base and those of the container, of folders."""
    write_pipelines(tmp_path)
    with in_small_pieces(CACHE), one_thread(), Registry.init(tmp_path / "registry") as registry:
        registry.add_base("base", tmp_path / "base", link=True)
        registry.add(tmp_path / "tuned", base="base", name="subject", tau=TAU)
        of_base, own = tmp_path / "base/tokenizer/vocab.json", "tokenizer/own.json"
        container = object_path(registry.folder, registry.version("subject").container)
        with (
            registry.open_result("subject", "tokenizer/vocab.json") as vocabulary,
            registry.open_result("subject", own) as configuration,
        ):
            flip_at(of_base, 40)
            with pytest.raises(BaseMismatch, match=r"tokenizer/vocab\.json was changed"):
                vocabulary.read_at(500, 100)
            flip_at(of_base, 40)
            assert vocabulary.read() == (tmp_path / "tuned/tokenizer/vocab.json").read_bytes()
            assert configuration.read() == (tmp_path / "tuned" / own).read_bytes()
        data = container.read_bytes()
        replace_bytes(container, data[:-3] + b"\0\0\0")
        with (
            Registry.open(tmp_path / "registry") as fresh,
            pytest.raises((ContainerError, RegistryError)),
        ):
            fresh.open_result("subject", own)
