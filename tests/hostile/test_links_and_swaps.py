"""Symbolic links in the place of what a registry has, and files that are exchanged under its hands."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, DsvdError, RegistryError, StorageError
from dsvd_registry.store.registry_folder import create


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`registry` with `subject` over a copied base, `linked` over a linked one, and their files."""
    folder = tmp_path_factory.mktemp("swaps")
    torch.manual_seed(2)
    base = {f"w{i}": torch.randn(64, 48) for i in range(6)}
    for name, scale in (("tuned", 1e-2), ("other", 2e-2)):
        tuned = {k: w + scale * torch.randn(64, 2) @ torch.randn(2, 48) for k, w in base.items()}
        save_file(tuned, folder / f"{name}.safetensors")
    save_file(base, folder / "base.safetensors")
    save_file({k: w + 1e-3 for k, w in base.items()}, folder / "base2.safetensors")
    with one_thread():
        for name, link in (("registry", False), ("linked", True)):
            with Registry.init(folder / name) as registry:
                registry.add_base("base", folder / "base.safetensors", link=link)
                registry.add(folder / "tuned.safetensors", base="base", name="subject")
                registry.add(folder / "other.safetensors", base="base", name="other")
    return folder


@pytest.fixture
def own(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(made, tmp_path / "own"))


@pytest.mark.parametrize("name", ["objects", "events", "tmp"])
def test_link_planted_as_a_folder(own: Path, name: str) -> None:
    """Seen to fail: without `_check_no_link` the registry opens, and lists what lies elsewhere."""
    planted = own / "registry" / name
    planted.rename(own / "elsewhere")
    planted.symlink_to(own / "elsewhere")
    with pytest.raises(RegistryError, match="symbolic link"):
        Registry.open(own / "registry")
    planted.unlink()
    planted.symlink_to(own / "nowhere")
    with pytest.raises(RegistryError, match="symbolic link"):
        Registry.open(own / "registry")


@pytest.mark.parametrize("name", ["objects", "events", "tmp"])
def test_link_planted_before_the_registry_is_made(tmp_path: Path, name: str) -> None:
    """A crashed `init` leaves empty folders, a link to one it does not. Seen to fail: without
    `is_symlink` in `_left_by_crashed_create`."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "registry").mkdir()
    (tmp_path / "registry" / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Conflict):
        create(tmp_path / "registry")
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_root_may_be_a_link(own: Path) -> None:
    """Where the registry lies is its user's choice."""
    (own / "link").symlink_to(own / "registry")
    with Registry.open(own / "link") as registry:
        assert registry.verify().is_well


def rename_over(path: Path, other: Path) -> None:
    """Another file under the same name; who has the first open keeps it."""
    copy = path.with_name("copy")
    shutil.copyfile(other, copy)
    copy.replace(path)


def write_over(path: Path, other: Path) -> None:
    """Other bytes in the same file, cut or filled to its size, at its time."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(other.read_bytes()[: status.st_size])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


SWAPS: dict[str, Callable[[Path, Path], None]] = {"renamed": rename_over, "written": write_over}


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("what", ["container", "base", "linked base"])
def test_swapped_while_it_is_materialised(own: Path, what: str, swap: str) -> None:
    """Exchanged at the first word of progress, when all is open: the right bytes, or an error and no
    file. Seen to fail: with `Recorded.check` gone, a written base gives a file of other bytes."""
    with Registry.open(own / ("linked" if what == "linked base" else "registry")) as registry:
        right = own / "right.safetensors"
        registry.materialize("subject", right)

        def object_path(sha256: str) -> Path:
            return registry.folder / "objects" / sha256[:2] / sha256

        target, other = {
            "container": lambda: (
                object_path(registry.version("subject").container),
                object_path(registry.version("other").container),
            ),
            "base": lambda: (object_path(registry.base("base").file), own / "base2.safetensors"),
            "linked base": lambda: (own / "base.safetensors", own / "base2.safetensors"),
        }[what]()
        if what == "linked base":  # where it was when it was linked
            target = registry.base("base").link or target
            kept = target.read_bytes()
        swapped = []

        def change(stage: str, done: int, total: int) -> None:
            if not swapped:
                SWAPS[swap](target, other)
            swapped.append(stage)

        out = own / "out.safetensors"
        try:
            registry.materialize("subject", out, progress=change)
        except DsvdError:
            assert not out.exists()
        else:
            assert out.read_bytes() == right.read_bytes()
        finally:
            if what == "linked base":
                target.write_bytes(kept)
        assert swapped


@pytest.mark.parametrize("swap", SWAPS)
@pytest.mark.parametrize("verb", ["add", "base add"])
def test_swapped_while_it_is_added(own: Path, verb: str, swap: str) -> None:
    """A source that becomes another of the same size and time is refused, and nothing of it is kept.

    Seen to fail: without `st_ctime_ns` in `_states`, a source that is written over is taken.
    """
    source = own / "source.safetensors"
    shutil.copyfile(own / "tuned.safetensors", source)
    swapped = []

    def change(stage: str, done: int, total: int) -> None:
        if not swapped:
            SWAPS[swap](source, own / "other.safetensors")
        swapped.append(stage)

    with Registry.open(own / "registry") as registry:
        before = registry.versions(), registry.bases()
        with pytest.raises(StorageError, match="changed"):
            if verb == "add":
                registry.add(source, base="base", name="new", tau=0.31, progress=change)
            else:
                registry.add_base("new", source, progress=change)
        assert swapped and (registry.versions(), registry.bases()) == before
        assert registry.verify(deep=True).is_well
