"""Actions of another process at the worst moment, made at exactly that moment."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.catalog import Catalog
from dsvd_registry.errors import Conflict, InvalidArgument, RegistryError, StorageError

from .conftest import TAU, Pair


def test_gc_of_what_an_addition_has_just_found(
    registry: Registry, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The container is there when it is looked for, and gone when it is to be referred to.

    Seen to leave a version without its container before `confirm` was asked in the transaction.
    """
    registry.remove_version("subject@1")
    original = Catalog.add_version

    def add_version(catalog: Catalog, *arguments: object, **values: object) -> object:
        registry.collect_garbage(grace_days=-1)
        return original(catalog, *arguments, **values)

    with Registry.open(registry.folder) as other, monkeypatch.context() as patch:
        patch.setattr(Catalog, "add_version", add_version)
        with pytest.raises(RegistryError, match="missing"):
            other.add(pair.tuned_file, base="sd15", name="subject", tau=0.3)
    assert registry.verify(deep=True).is_well
    assert registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.3).created


@pytest.mark.parametrize("what", ["base", "version"])
def test_a_file_that_changes_while_it_is_read(
    registry: Registry, pair: Pair, tmp_path: Path, what: str
) -> None:
    source = tmp_path / "changing.safetensors"
    source.write_bytes(pair.tuned_file.read_bytes())

    def change(stage: str, done: int, total: int) -> None:
        os.utime(source, ns=(done, done))

    with pytest.raises(StorageError, match="changed while"):
        if what == "base":
            registry.add_base("other", source, progress=change)
        else:
            registry.add(source, base="sd15", name="other", tau=TAU / 2, progress=change)
    assert registry.verify(deep=True).is_well


def test_a_damaged_event_is_found(registry: Registry) -> None:
    registry.set_note("subject", "irreplaceable")
    event = max((registry.folder / "events").rglob("*.json"))
    event.chmod(0o644)
    event.write_bytes(event.read_bytes().replace(b"irreplaceable", b"irreplaceabel"))
    (finding,) = registry.verify().findings
    assert finding.subjects == ("event log",)
    assert event.name.split("-")[0].lstrip("0") in finding.problem


def test_a_linked_base_is_not_written_over(registry: Registry, pair: Pair, tmp_path: Path) -> None:
    link = tmp_path / "linked.safetensors"
    link.write_bytes(pair.base_file.read_bytes())
    registry.add_base("sd15", link, link=True)
    with pytest.raises(Conflict, match="base"):
        registry.materialize("subject", link, replace=True)
    assert link.read_bytes() == pair.base_file.read_bytes()


def test_only_plain_files_are_written_over(registry: Registry, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidArgument, match="plain file"):
        registry.materialize("subject", pipe, replace=True)
    assert pipe.is_fifo()
