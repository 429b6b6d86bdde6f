"""A container leaves one registry as a file and comes into another, checked, or not at all."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.errors import (
    BaseMismatch,
    Conflict,
    ContainerError,
    DsvdError,
    InvalidArgument,
    RegistryError,
    ResultMismatch,
    StorageError,
)

from . import child
from .conftest import (
    TAU,
    Child,
    Pair,
    files_in,
    flip,
    flip_tensor,
    object_path,
    run_python,
    sha256,
    write_pickle,
    write_safetensors,
)
from .crafting import HeaderJson, refilled, rewritten

Change = Callable[[HeaderJson], object]


@pytest.fixture(scope="module")
def exported(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`subject@1` of the template as a file. Tests only read it."""
    path = tmp_path_factory.mktemp("exported") / "subject.dsvd"
    with Registry.open(template) as registry:
        registry.export_container("subject", path)
    return path


@pytest.fixture(scope="module")
def bare_template(pair: Pair, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with the base alone, under another name than where the container was made."""
    root = tmp_path_factory.mktemp("bare") / "registry"
    with Registry.init(root) as made:
        made.add_base("other-name", pair.base_file)
    return root


@pytest.fixture
def bare(bare_template: Path, tmp_path: Path) -> Iterator[Registry]:
    root = shutil.copytree(bare_template, tmp_path / "bare")
    with Registry.open(root) as opened:
        yield opened


def held(registry: Registry) -> tuple[dict[str, bytes], ...]:
    """All that an import could leave behind."""
    return tuple(files_in(registry.folder / folder) for folder in ("objects", "events", "tmp"))


def assert_refused(registry: Registry, file: Path, *kinds: type[DsvdError]) -> DsvdError:
    before = held(registry), registry.versions()
    with pytest.raises(kinds) as caught:
        registry.import_container(file, name="refused")
    assert (held(registry), registry.versions()) == before
    return caught.value


def test_there_and_back(trained_registry: Registry, trained: Pair, tmp_path: Path) -> None:
    """Both registries give the same file of a really trained pair."""
    file = tmp_path / "travelling.dsvd"
    written = trained_registry.export_container("subject", file)
    was = trained_registry.version("subject")
    assert (written.path, written.sha256, written.size) == (file, was.container, was.size)
    assert file.read_bytes() == object_path(trained_registry.folder, was.container).read_bytes()
    with Registry.init(tmp_path / "elsewhere") as registry:
        registry.add_base("its-name-here", trained.base_file)
        added = registry.import_container(file, note="from there", tags=["good"])
        assert (added.created, added.ref) == (True, "travelling@1")
        now = added.version
        assert (now.note, now.tags, now.base_name) == ("from there", ("good",), "its-name-here")
        for field in ("container", "size", "base", "source", "settings", "summary"):
            assert getattr(now, field) == getattr(was, field), field
        assert registry.report("travelling") == trained_registry.report("subject")
        assert registry.verify(deep=True).is_well
        here, there = tmp_path / "here.safetensors", tmp_path / "there.safetensors"
        registry.materialize("travelling", here)
        trained_registry.materialize("subject", there)
        assert sha256(here) == sha256(there)
        Registry.rebuild_catalog(registry.folder)
        assert registry.version("travelling") == now


@pytest.mark.parametrize(
    "wish",
    [
        {"tau": 0.8},
        {"tau": 0.3, "grid_noise": 0.1},
        {"tau": 1.0, "keep_noise": True},
        {"max_error": 0.3},
        {"budget": 60_000},
    ],
    ids=["tau", "grid noise", "keep noise", "error", "budget"],
)
def test_the_source_is_recognised_where_its_container_came_in(
    registry: Registry, bare: Registry, pair: Pair, tmp_path: Path, wish: dict[str, Any]
) -> None:
    made = registry.add(pair.tuned_file, base="sd15", name="made", **wish).version
    registry.export_container("made", tmp_path / "made.dsvd")
    assert bare.import_container(tmp_path / "made.dsvd").version.settings == made.settings
    again = bare.add(pair.tuned_file, base="other-name", name="made", **wish)
    assert (again.created, again.ref) == (False, "made@1")


def test_the_same_container_again(bare: Registry, exported: Path) -> None:
    first = bare.import_container(exported)
    before = held(bare)
    again = bare.import_container(exported)
    assert (again.created, again.version) == (False, first.version)
    assert held(bare) == before
    assert bare.import_container(exported, note="seen").version.note == "seen"
    twin = bare.import_container(exported, name="twin")
    assert (twin.created, twin.ref) == (True, "twin@1")
    assert twin.version.container == first.version.container


def test_after_a_removal_and_after_a_loss(bare: Registry, exported: Path) -> None:
    bare.import_container(exported)
    bare.remove_version("subject@1")
    again = bare.import_container(exported)
    assert (again.created, again.ref) == (True, "subject@2")
    object_path(bare.folder, again.version.container).unlink()
    back = bare.import_container(exported)
    assert (back.created, back.ref) == (False, "subject@2")
    flip(object_path(bare.folder, again.version.container))
    assert not bare.import_container(exported).created
    assert bare.verify(deep=True).is_well


def test_another_container_of_the_model_is_its_next_version(
    registry: Registry, bare: Registry, exported: Path, pair: Pair, tmp_path: Path
) -> None:
    registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.3)
    registry.export_container("subject@2", tmp_path / "subject.dsvd")
    bare.import_container(exported)
    assert bare.import_container(tmp_path / "subject.dsvd").ref == "subject@2"
    assert bare.import_container(exported).ref == "subject@1"


def test_a_base_that_is_not_there(exported: Path, pair: Pair, tmp_path: Path) -> None:
    with Registry.init(tmp_path / "registry") as registry:
        error = assert_refused(registry, exported, BaseMismatch)
        assert "'sd15'" in str(error)
        assert "the registry has none" in str(error)
        assert "dsvd base add" in error.hint
        other = registry.add_base("sd15", pair.tuned_file)  # its name, and other weights
        error = assert_refused(registry, exported, BaseMismatch)
        assert other.digest in str(error)


def test_the_missing_base_is_named_by_its_digest(
    registry: Registry, exported: Path, tmp_path: Path
) -> None:
    with Registry.init(tmp_path / "empty") as empty:
        error = assert_refused(empty, exported, BaseMismatch)
    assert registry.base("sd15").digest in str(error)


def test_a_damaged_base(bare: Registry, exported: Path) -> None:
    flip_tensor(object_path(bare.folder, bare.base("other-name").file), "tied")
    assert "'tied'" in str(assert_refused(bare, exported, BaseMismatch))


def test_a_flipped_bit_anywhere(bare: Registry, exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "damaged.dsvd"
    data = exported.read_bytes()
    step = len(data) // 60
    for position in [*range(0, 40, 3), *range(40, len(data), step), len(data) - 1]:
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        file.write_bytes(damaged)
        assert str(file) in str(assert_refused(bare, file, ContainerError)), position


@pytest.mark.parametrize("kept", [0, 7, 31, 100, -1])
def test_a_file_cut_short(bare: Registry, exported: Path, tmp_path: Path, kept: int) -> None:
    file = tmp_path / "cut.dsvd"
    file.write_bytes(exported.read_bytes()[:kept])
    assert_refused(bare, file, ContainerError)
    file.write_bytes(exported.read_bytes() + b"\0")
    assert "followed by something" in str(assert_refused(bare, file, ContainerError))


def another_result(header: HeaderJson) -> None:
    header["results"][0]["sha256"] = "0" * 64


def another_base_tensor(header: HeaderJson) -> None:
    record = next(t for t in header["tensors"] if t["kind"] == "low_rank")
    record["base"][0]["sha256"] = "0" * 64


def another_base(header: HeaderJson) -> None:
    header["base"]["digest"] = "0" * 64


def a_feature(header: HeaderJson) -> None:
    header["requires"] = ["telepathy"]


@pytest.mark.parametrize(
    ("change", "kind", "word"),
    [
        (another_result, ResultMismatch, "0" * 64),
        (another_base_tensor, BaseMismatch, "missing or another"),
        (another_base, BaseMismatch, "0" * 64),
        (a_feature, ContainerError, "telepathy"),
    ],
)
def test_what_no_writer_makes(
    bare: Registry,
    exported: Path,
    tmp_path: Path,
    change: Change,
    kind: type[DsvdError],
    word: str,
) -> None:
    """Every checksum of these is right."""
    file = tmp_path / "crafted.dsvd"
    file.write_bytes(rewritten(exported, change))
    assert word in str(assert_refused(bare, file, kind))


def test_a_source_of_a_format_that_cannot_be_recorded(
    registry: Registry, bare: Registry, pair: Pair, tmp_path: Path
) -> None:
    source = write_pickle(pair.tuned, tmp_path / "tuned.ckpt")  # its header would give it away
    registry.add(source, base="sd15", name="pickled", tau=0.3)
    registry.export_container("pickled", tmp_path / "pickled.dsvd")

    def change(header: HeaderJson) -> None:
        header["source"]["format"] = "Of my own"

    file = tmp_path / "crafted.dsvd"
    file.write_bytes(rewritten(tmp_path / "pickled.dsvd", change))
    assert "'Of my own' is not" in str(assert_refused(bare, file, ContainerError))


def test_other_numbers_under_right_checksums(
    bare: Registry, exported: Path, tmp_path: Path
) -> None:
    def change(header: HeaderJson, frames: list[bytes]) -> None:
        number = next(i for i, f in enumerate(header["frames"]) if f["content"] == "bytes")
        frames[number] = bytes([frames[number][0] ^ 1]) + frames[number][1:]

    file = tmp_path / "crafted.dsvd"
    file.write_bytes(refilled(exported, change))
    assert_refused(bare, file, ResultMismatch)


def test_a_file_that_is_written_meanwhile(bare: Registry, exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "changing.dsvd"
    file.write_bytes(exported.read_bytes())

    def change(stage: str, done: int, total: int) -> None:
        if stage == "copying":
            flip(file)

    before = held(bare)
    with pytest.raises(StorageError, match="changed while"):
        bare.import_container(file, progress=change)
    assert (held(bare), bare.versions()) == (before, [])


def test_names_and_labels_are_judged_first(bare: Registry, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="no name"):
        bare.import_container(exported, name="no name")
    with pytest.raises(InvalidArgument, match="no tag"):
        bare.import_container(exported, tags=["no tag"])
    bare.import_container(exported, name="Subject")
    with pytest.raises(Conflict, match="case alone"):
        bare.import_container(exported, name="subject")
    with pytest.raises(StorageError, match="No such file"):
        bare.import_container(tmp_path / "nowhere.dsvd")


def test_export_replaces_only_when_told(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "out.dsvd"
    file.write_text("mine")
    with pytest.raises(Conflict, match="exists already"):
        registry.export_container("subject", file)
    assert file.read_text() == "mine"
    written = registry.export_container("subject", file, replace=True)
    assert sha256(file) == written.sha256
    with pytest.raises(InvalidArgument, match="plain file"):
        registry.export_container("subject", tmp_path, replace=True)
    with pytest.raises(StorageError, match="no folder"):
        registry.export_container("subject", tmp_path / "no" / "out.dsvd")


def test_export_of_a_damaged_object(registry: Registry, tmp_path: Path) -> None:
    flip(object_path(registry.folder, registry.version("subject").container))
    (tmp_path / "out").mkdir()
    with pytest.raises(RegistryError, match="damaged"):
        registry.export_container("subject", tmp_path / "out" / "out.dsvd")
    assert files_in(tmp_path / "out") == {}


def test_export_does_not_write_over_a_linked_base(
    registry: Registry, pair: Pair, tmp_path: Path
) -> None:
    link = write_safetensors({"w": torch.ones(3)}, tmp_path / "linked.safetensors")
    registry.add_base("linked", link, link=True)
    with pytest.raises(Conflict, match="base"):
        registry.export_container("subject", link, replace=True)


def test_export_needs_no_torch(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from dsvd_registry import Registry; "
        "Registry.open(sys.argv[1]).export_container('subject', sys.argv[2]); "
        "print('torch' in sys.modules)"
    )
    assert run_python(code, root, tmp_path / "out.dsvd").strip() == "False"


def test_killed_at_steps_of_an_import(bare_template: Path, exported: Path, tmp_path: Path) -> None:
    whole = shutil.copytree(bare_template, tmp_path / "whole")
    ((_, steps),) = Child(child.import_container, whole, exported, None).reports()
    assert steps > 8
    for kill_at in range(0, steps, 2):
        root = shutil.copytree(bare_template, tmp_path / str(kill_at))
        killed = Child(child.import_container, root, exported, kill_at)
        assert killed.reports() == []
        assert killed.process.exitcode == -signal.SIGKILL
        with Registry.open(root) as registry:
            assert registry.verify(deep=True).is_well
            assert registry.import_container(exported).ref == "subject@1"
            assert registry.verify(deep=True).is_well
            assert registry.version("subject").summary["tau"] == TAU
