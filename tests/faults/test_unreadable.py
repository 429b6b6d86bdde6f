"""Files that open and cannot be read to their end: an error of the right kind, and a whole registry.

EIO stands for a failing disk, the end of the file for one that is cut while it is read. Seen to fail
with `storage_errors` taken out of `hashing`, of `DiskFile.read` and of `MappedFile.copy`, and with
the comparison of sizes taken out of `hashing` and of `put_file`: a base was then stored cut.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import DsvdError, StorageError

from .scenarios import TAU, base, signed, version, write_sources
from .unreadable import unreadable
from .whole import shown

Find = Callable[[Registry, Path], Path]
Do = Callable[[Path], object]


def in_store(registry: Registry, at: Path, sha256: str) -> Path:
    return at / "registry/objects" / sha256[:2] / sha256


FILES: dict[str, Find] = {
    "base": lambda r, at: in_store(r, at, r.base("sd15").file),
    "manifest": lambda r, at: in_store(r, at, r.base("sd15").manifest),
    "container": lambda r, at: in_store(r, at, r.version("one").container),
    "event": lambda _, at: min((at / "registry/events").rglob("*.json")),
    "registry.json": lambda _, at: at / "registry/registry.json",
    "source": lambda _, at: at / "other.safetensors",
    "exported": lambda _, at: at / "X",
}


def using(do: Callable[[Registry, Path], object]) -> Do:
    def called(at: Path) -> None:
        with Registry.open(at / "registry") as registry:
            do(registry, at)

    return called


def add_other(r: Registry, at: Path) -> None:
    r.add(at / "other.safetensors", base="sd15", name="two", tau=TAU)


COMMANDS: dict[str, Do] = {
    "add": using(add_other),
    "base add": using(lambda r, at: r.add_base("three", at / "other.safetensors")),
    "materialize": using(lambda r, at: r.materialize("one", at / "out")),
    "export": using(lambda r, at: r.export_container("one", at / "out")),
    "sign": using(lambda r, at: r.sign("one", at / "key")),
    "import": using(lambda r, at: r.import_container(at / "X", name="two")),
    "catalog rebuild": lambda at: Registry.rebuild_catalog(at / "registry"),
}
# The exit codes of an input/output error, and of a file that is cut.
CASES = {
    ("materialize", "base"): (9, 9),
    ("materialize", "manifest"): (9, 9),
    ("materialize", "container"): (9, 6),
    ("materialize", "registry.json"): (9, 8),
    ("export", "container"): (9, 9),
    ("sign", "container"): (9, 9),
    ("add", "source"): (9, 9),
    ("add", "base"): (9, 9),
    ("add", "manifest"): (9, 9),
    ("base add", "source"): (9, 9),
    ("import", "exported"): (9, 6),
    ("import", "base"): (9, 9),
    ("catalog rebuild", "event"): (9, 9),
    ("catalog rebuild", "registry.json"): (9, 8),
}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("unreadable") / "at"
    at.mkdir()
    write_sources(at)
    with Registry.init(at / "registry") as registry:
        for step in (base, version, signed):
            step(registry, at)
        registry.export_container("one", at / "X")
    return at


@pytest.mark.parametrize("fault", ["input/output error", "cut"])
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_cannot_be_read(template: Path, tmp_path: Path, case: tuple[str, str], fault: str) -> None:
    command, what = case
    at = shutil.copytree(template, tmp_path / "at")
    with Registry.open(at / "registry") as registry:
        before = shown(registry)
        path = FILES[what](registry, at)
    with (
        unreadable(path, errno.EIO if fault != "cut" else None),
        pytest.raises(DsvdError) as raised,
    ):
        COMMANDS[command](at)
    assert raised.value.exit_code == CASES[case][fault == "cut"], repr(raised.value)
    assert raised.value.hint
    assert not (at / "out").exists() and not any((at / "registry/tmp").iterdir())
    with Registry.open(at / "registry") as registry:
        assert shown(registry) == before
        assert registry.verify(deep=True).is_well
    COMMANDS[command](at)


@pytest.mark.parametrize("what", ["base", "manifest", "container", "event"])
@pytest.mark.parametrize("code", [errno.EIO, None], ids=["input/output error", "cut"])
def test_verify_goes_on(template: Path, what: str, code: int | None) -> None:
    """A file that cannot be read is a finding, as damage is."""
    with Registry.open(template / "registry") as registry:
        with unreadable(FILES[what](registry, template), code):
            (finding, *_) = registry.verify().findings
        assert finding.problem
        assert registry.verify(deep=True).is_well


@pytest.mark.parametrize("what", ["base", "manifest", "container", "event"])
@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EACCES], ids=os.strerror)
def test_a_refusal_is_no_finding(template: Path, what: str, code: int) -> None:
    """Nothing is known of a file that the machine does not let us read."""
    with Registry.open(template / "registry") as registry:
        path = FILES[what](registry, template)
        with unreadable(path, code), pytest.raises(StorageError, match=os.strerror(code)) as raised:
            registry.verify(deep=True)
        assert raised.value.exit_code == 9 and raised.value.hint
        assert registry.verify(deep=True).is_well
    with unreadable(path, code), pytest.raises(StorageError):
        Registry.repair(template / "registry")
    assert path.exists() and not (template / "registry/quarantine").exists()


def test_too_many_open_files_are_no_damage(template: Path) -> None:
    """Really too many: one more file may be open each time, until there is the truth instead."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    refused = 0
    with Registry.open(template / "registry") as registry:
        assert registry.verify(deep=True).is_well  # whatever it imports is there from now on
        with Path(os.devnull).open("rb") as next_one:
            lowest = next_one.fileno()
        while True:
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + refused, limits[1]))
            try:
                found = registry.verify(deep=True)
            except StorageError as error:
                refused += 1
                assert os.strerror(errno.EMFILE) in str(error) or "unable to open" in str(error)
            else:
                break
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert found.is_well and refused > 2
