"""Many files at once: what becomes of each, and going on after a stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from dsvd_registry import Registry
from dsvd_registry.errors import (
    CheckpointError,
    Conflict,
    InvalidArgument,
    NotFound,
    StorageError,
)
from dsvd_registry.progress import FILES
from dsvd_registry.registry import AddedMany, StoppedMany
from dsvd_registry.registry.adding import batch
from dsvd_registry.registry.adding.input_files import checkpoints_in, each_once, is_one_checkpoint

from . import many_child
from .conftest import Child, Weights, files_in, write_pickle, write_safetensors

NUMBER = 4


def base_weights() -> Weights:
    make = torch.Generator().manual_seed(1)
    return {
        "unet.conv.weight": torch.randn(16, 8, 3, 3, generator=make),
        "unet.attn.to_q.weight": torch.randn(48, 64, generator=make),
        "unet.norm.bias": torch.randn(40, generator=make),
    }


def tuned(seed: int) -> Weights:
    make = torch.Generator().manual_seed(seed)
    return {
        name: t + 1e-3 * torch.randn(t.shape, generator=make) for name, t in base_weights().items()
    }


def lora() -> Weights:
    make = torch.Generator().manual_seed(9)
    return {
        "unet.attn.to_q.lora_A.weight": 0.01 * torch.randn(4, 64, generator=make),
        "unet.attn.to_q.lora_B.weight": 0.1 * torch.randn(48, 4, generator=make),
    }


@pytest.fixture(scope="module")
def base_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_safetensors(base_weights(), tmp_path_factory.mktemp("base") / "b.safetensors")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`ft-1` to `ft-4`, the last a pickle."""
    made = tmp_path / "files"
    made.mkdir()
    for number in range(1, NUMBER):
        write_safetensors(tuned(number), made / f"ft-{number}.safetensors")
    write_pickle(tuned(NUMBER), made / f"ft-{NUMBER}.ckpt")
    return made


@pytest.fixture
def registry(tmp_path: Path, base_file: Path) -> Iterator[Registry]:
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("base", base_file)
        yield opened


def outcomes(found: AddedMany) -> list[tuple[str, str, str | None]]:
    return [(file.path.name, file.outcome, file.ref) for file in found.files]


ALL_REFS = [f"ft-{number}@1" for number in range(1, NUMBER + 1)]


def refs(registry: Registry) -> list[str]:
    return sorted(version.ref for version in registry.versions())


def test_a_folder(registry: Registry, folder: Path) -> None:
    told = []
    found = registry.add_many(
        [folder], base="base", tags=["run"], progress=lambda *said: told.append(said)
    )
    assert outcomes(found) == [
        (path.name, "added", ref)
        for path, ref in zip(sorted(folder.iterdir()), ALL_REFS, strict=True)
    ]
    assert [said for said in told if said[0] == FILES] == [
        (FILES, number, NUMBER) for number in range(NUMBER + 1)
    ]
    assert {"hashing", "encoding"} <= {stage for stage, _, _ in told}
    assert refs(registry) == ALL_REFS
    versions = {version.ref: version for version in registry.versions()}
    for file in found.files:
        version = versions[file.ref or ""]
        assert (file.base, file.container) == ("base", version.container)
        assert (file.source_bytes, file.stored_bytes) == (file.path.stat().st_size, version.size)
        assert (file.match, file.refusal, version.tags) == (None, None, ("run",))
    assert found.source_bytes == sum(path.stat().st_size for path in folder.iterdir())
    assert found.stored_bytes == sum(version.size for version in versions.values())
    assert (len(found.added), found.there, found.refused, found.exit_code) == (NUMBER, (), (), 0)
    assert (found.safe_to_delete, found.repeats, found.not_reached) == ((), (), ())
    assert found.files[-1].left_out  # what a trainer's pickle has besides weights
    assert registry.verify(deep=True).is_well


def test_again_all_is_there(registry: Registry, folder: Path) -> None:
    first = registry.add_many([folder], base="base")
    before = files_in(registry.folder / "objects")
    told = set()
    again = registry.add_many([folder], base="base", progress=lambda *said: told.add(said[0]))
    assert [file.outcome for file in again.files] == ["there"] * NUMBER
    assert (again.stored_bytes, again.source_bytes) == (first.stored_bytes, first.source_bytes)
    assert (len(again.there), again.added, again.exit_code) == (NUMBER, (), 0)
    assert told == {FILES}  # nothing is hashed or computed
    assert files_in(registry.folder / "objects") == before
    write_safetensors(tuned(77), folder / "ft-0.safetensors")
    more = registry.add_many([folder], base="base")
    assert [file.outcome for file in more.files] == ["added"] + ["there"] * NUMBER
    other = registry.add_many([folder], base="base", tau=0.9)
    assert {file.ref for file in other.added} == {"ft-0@2", *(f"ft-{n}@2" for n in range(1, 5))}


def test_what_is_refused_stops_nothing(registry: Registry, folder: Path) -> None:
    (folder / "a-text.safetensors").write_text("text")
    (folder / "b-bad.ckpt").write_bytes((folder / "ft-4.ckpt").read_bytes()[:-40])
    whole = (folder / "ft-1.safetensors").read_bytes()
    (folder / "c-short.safetensors").write_bytes(whole[:-9])
    write_safetensors({"other": torch.ones(3)}, folder / "ft-35.safetensors")
    (folder / "z-empty.pt").touch()
    found = registry.add_many([folder], base="base")
    assert [file.ref for file in found.files if file.ref] == ALL_REFS
    refused = {file.path.name: file.refusal for file in found.refused}
    assert {name: (r.type, r.exit_code) for name, r in refused.items() if r} == {
        "a-text.safetensors": ("CheckpointError", 5),
        "b-bad.ckpt": ("CheckpointError", 5),
        "c-short.safetensors": ("CheckpointError", 5),
        "ft-35.safetensors": ("BaseMismatch", 7),
        "z-empty.pt": ("CheckpointError", 5),
    }
    assert all(refusal.message for refusal in refused.values() if refusal)
    assert found.exit_code == 5  # of the first
    assert found.source_bytes == sum(file.source_bytes for file in found.added)
    for name in ("a-text.safetensors", "b-bad.ckpt", "c-short.safetensors"):
        (folder / name).unlink()
    assert registry.add_many([folder], base="base").exit_code == 7


def test_what_nobody_foresaw_stops_nothing(registry: Registry, folder: Path) -> None:
    paths = [Path("a\0folder/x.safetensors"), folder / "ft-1.safetensors"]
    found = registry.add_many(paths, base="base")
    strange, good = found.files
    assert strange.refusal is not None
    assert (strange.refusal.type, strange.refusal.exit_code) == ("ValueError", 70)
    assert "bug in dsvd" in strange.refusal.message
    assert good.ref == "ft-1@1"


def test_lora_files_too(registry: Registry, folder: Path) -> None:
    write_safetensors(lora(), folder / "a-lora.safetensors")
    half = lora() | {"unet.attn.to_k.hada_w1_a": torch.ones(2, 2)}
    write_safetensors(half, folder / "b-half.safetensors")
    found = registry.add_many([folder], base="base")
    assert [file.outcome for file in found.files] == ["added", "refused"] + ["added"] * NUMBER
    assert registry.version("a-lora").source.format == "lora"
    assert registry.report("a-lora").tau == 1
    skipping = registry.add_many([folder], base="base", skip_unsupported=True)
    assert [len(file.left_out) for file in skipping.files[:2]] == [0, 1]
    assert skipping.files[1].outcome == "added"


def test_each_finds_its_own_base(registry: Registry, folder: Path, tmp_path: Path) -> None:
    other = {name: -tensor for name, tensor in base_weights().items()}
    registry.add_base("other", write_safetensors(other, tmp_path / "other.safetensors"))
    of_other = {name: -tensor for name, tensor in tuned(50).items()}
    write_safetensors(of_other, folder / "a-other.safetensors")
    strange = {name: torch.randn(tensor.shape) for name, tensor in base_weights().items()}
    write_safetensors(strange, folder / "b-strange.safetensors")
    found = registry.add_many([folder])
    assert [file.base for file in found.files] == ["other", None] + ["base"] * NUMBER
    assert all(file.match is not None and file.match.is_sure for file in found.added)
    (unsure,) = found.refused
    assert unsure.refusal is not None
    assert (unsure.refusal.type, unsure.refusal.exit_code) == ("UnsureBase", 2)


def test_one_file_by_several_paths(registry: Registry, folder: Path, tmp_path: Path) -> None:
    first = folder / "ft-1.safetensors"
    (folder / "a-link.safetensors").symlink_to(first.name)
    os.link(first, folder / "z-hard.safetensors")
    (tmp_path / "there").symlink_to(folder)
    paths = [
        folder,
        first,
        folder / "ft-1.safetensors",
        folder / ".." / "files" / "ft-2.safetensors",
        tmp_path / "there" / "ft-3.safetensors",
        tmp_path / "there",
    ]
    found = registry.add_many(paths, base="base")
    assert [file.ref for file in found.files] == ALL_REFS  # the link in the folder gives no name
    assert found.source_bytes == sum(file.path.stat().st_size for file in found.files)
    repeats = [(repeat.path.name, repeat.first.name) for repeat in found.repeats]
    assert repeats[:2] == [("z-hard.safetensors", first.name), ("a-link.safetensors", first.name)]
    assert len(repeats) == 2 + 1 + 1 + NUMBER + 2
    assert registry.add_many([folder / "a-link.safetensors"], base="base").files[0].ref == (
        "a-link@1"
    )


def test_paths_that_lead_nowhere_are_left_as_they_are() -> None:
    paths = [Path("nowhere/a.pt"), Path("nowhere/b.pt"), Path("./nowhere/a.pt")]
    assert each_once(paths) == (paths[:2], [])


def test_two_files_of_one_name(registry: Registry, folder: Path) -> None:
    """Each is a model of its own: which, test_model_names.py has."""
    write_pickle(tuned(8), folder / "FT-2.ckpt")
    write_pickle(tuned(9), folder / "ft-1.pt")
    found = registry.add_many([folder], base="base")
    models = {str(file.ref).partition("@")[0].lower() for file in found.added}
    assert len(models) == len(found.added) == NUMBER + 2
    versions = {version.ref: version for version in registry.versions()}
    assert {version.number for version in versions.values()} == {1}


def test_what_is_wrong_at_once(registry: Registry, folder: Path, tmp_path: Path) -> None:
    """Nothing is computed, and no file is refused for what is no file's fault."""
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("text")
    (empty / ".hidden.safetensors").write_bytes(b"x")
    deeper = empty / "deeper"
    deeper.mkdir()
    shutil.copy(folder / "ft-1.safetensors", deeper)
    with pytest.raises(CheckpointError, match="is a folder that contains no checkpoint") as caught:
        registry.add_many([empty], base="base")
    assert ".safetensors" in caught.value.hint
    for wrong, kind in (
        ({"base": "nowhere"}, NotFound),
        ({"tau": 2.0}, InvalidArgument),
        ({"device": "abacus"}, InvalidArgument),
        ({"tags": ["Run", "run"]}, Conflict),
    ):
        with pytest.raises(kind):
            registry.add_many([folder], **{"base": "base", **wrong})  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="no file is given"):
        registry.add_many([], base="base")
    with Registry.init(tmp_path / "bare") as bare, pytest.raises(NotFound, match="no base"):
        bare.add_many([folder])
    assert registry.versions() == []


def test_one_bad_path_among_others(registry: Registry, folder: Path, tmp_path: Path) -> None:
    empty = tmp_path / "ft-1"  # as a file there is called: it becomes no model
    empty.mkdir()
    found = registry.add_many([tmp_path / "nowhere.pt", empty, folder], base="base")
    assert [file.outcome for file in found.files] == ["refused"] * 2 + ["added"] * NUMBER
    types = [file.refusal.type for file in found.files if file.refusal]
    assert types == ["StorageError", "CheckpointError"]
    assert found.exit_code == StorageError.exit_code


def test_a_folder_that_is_one_checkpoint(folder: Path, tmp_path: Path) -> None:
    assert is_one_checkpoint(folder / "ft-1.safetensors")
    assert is_one_checkpoint(tmp_path / "nowhere")
    assert not is_one_checkpoint(folder)
    pipeline = folder / "a.pipeline"
    (pipeline / "unet").mkdir(parents=True)
    (pipeline / "model_index.json").write_text("{}")
    part = folder / "ft-2.5"
    part.mkdir()
    (part / "config.json").write_text("{}")
    shutil.copy(folder / "ft-1.safetensors", part / "diffusion_pytorch_model.safetensors")
    (folder / "nothing").mkdir()
    assert is_one_checkpoint(pipeline)
    assert is_one_checkpoint(part)
    assert [path.name for path in checkpoints_in(folder)] == [
        "a.pipeline",
        "ft-1.safetensors",
        "ft-2.5",
        *("ft-2.safetensors", "ft-3.safetensors", "ft-4.ckpt"),
    ]


@pytest.mark.parametrize(
    ("stage", "half"), [("hashing", False), ("encoding", False), ("encoding", True)]
)
@pytest.mark.parametrize("file", [0, 2, 3])
def test_killed_and_run_again(
    registry: Registry, folder: Path, file: int, stage: str, half: bool
) -> None:
    root, paths = registry.folder, [folder]
    killed = Child(many_child.add_many, root, paths, file, stage, half)
    assert killed.reports() == []
    assert killed.process.exitcode == -signal.SIGKILL
    assert refs(registry) == ALL_REFS[:file]
    assert registry.verify(deep=True).is_well
    found = registry.add_many([folder], base="base")
    assert [one.outcome for one in found.files] == ["there"] * file + ["added"] * (NUMBER - file)
    assert [one.ref for one in found.files] == refs(registry) == ALL_REFS
    assert registry.verify(deep=True).is_well
    registry.collect_garbage(grace_days=0)
    assert not list((root / "tmp").iterdir())
    assert registry.usage().reclaimable == 0


def test_killed_in_the_commit_of_a_batch(base_file: Path, folder: Path, tmp_path: Path) -> None:
    """Before each step between the last object and the report: the batch is there whole, or not at all.

    No event names an object that is not there, nothing that was reported is missing, and the same call
    goes on.
    """
    with Registry.init(tmp_path / "before") as made:
        made.add_base("base", base_file)
    whole = shutil.copytree(tmp_path / "before", tmp_path / "whole")
    (_, first), (_, added), (_, end) = Child(many_child.add_batch, whole, [folder], None).reports()
    assert added == ALL_REFS and end > first + 3
    left = []
    for kill_at in range(first, end):
        root = shutil.copytree(tmp_path / "before", tmp_path / str(kill_at))
        killed = Child(many_child.add_batch, root, [folder], kill_at)
        prepared, *reported = killed.reports()
        assert prepared == ("prepared", first) and killed.process.exitcode == -signal.SIGKILL
        stored = {path.name for path in (root / "objects").rglob("*") if path.is_file()}
        assert len(stored) >= NUMBER  # all containers, whether or not an event names them
        assert named_in_events(root) <= stored
        with Registry.open(root) as opened:
            there = refs(opened)
            assert there in ([], ALL_REFS)
            assert {ref for _, some in reported for ref in some} <= set(there)
            assert opened.verify(deep=True).is_well
            found = opened.add_many([folder], base="base")
            assert [one.outcome for one in found.files] == NUMBER * ["there" if there else "added"]
            assert refs(opened) == ALL_REFS
            assert opened.verify().is_well
        left.append(len(there))
        shutil.rmtree(root)
    assert left == sorted(left) and set(left) == {0, NUMBER}


def named_in_events(root: Path) -> set[str]:
    """The containers that the log's files name."""
    changes = [
        change
        for path in (root / "events").rglob("*.json")
        for change in json.loads(path.read_bytes())["changes"]
    ]
    return {change["container"] for change in changes if change["kind"] == "version-added"}


def test_interrupted_while_the_commit_begins(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that commits may be faster than the one that starts it."""
    submit = ThreadPoolExecutor.submit
    interrupts = [KeyboardInterrupt]

    def interrupted(self: ThreadPoolExecutor, *work: Any) -> Any:
        begun = submit(self, *work)
        if "commit" in work[0].__name__ and interrupts:
            raise interrupts.pop()
        return begun

    monkeypatch.setattr(ThreadPoolExecutor, "submit", interrupted)
    with pytest.raises(StoppedMany) as caught:
        registry.add_many([folder], base="base", batch=2)
    assert not interrupts
    found = caught.value.found
    assert [one.ref for one in found.files] == ["ft-1@1", "ft-2@1"]
    assert [version.ref for version in registry.versions()] == ["ft-1@1", "ft-2@1"]
    assert [path.stem for path in found.not_reached] == ["ft-3", "ft-4"]


def test_interrupted_twice_in_a_commit(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second interrupt comes while the first one waits for the commit, which is not begun anew."""
    commit_all, shutdown = batch.commit_all, ThreadPoolExecutor.shutdown
    waited_for, tried_again = threading.Event(), threading.Event()
    sizes: list[int] = []

    def interrupting(prepared: Sequence[Any], repository: Any) -> Any:
        sizes.append(len(prepared))
        if len(sizes) == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            assert waited_for.wait(60)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            tried_again.wait(60)
        return commit_all(prepared, repository)

    def told(self: ThreadPoolExecutor, *arguments: Any, **options: Any) -> None:
        if sizes:
            waited_for.set()
        shutdown(self, *arguments, **options)

    submit = ThreadPoolExecutor.submit

    def submitted(self: ThreadPoolExecutor, *work: Any) -> Any:
        begun = submit(self, *work)
        if sizes and "commit" in work[0].__name__:
            tried_again.set()
        return begun

    monkeypatch.setattr(batch, "commit_all", interrupting)
    monkeypatch.setattr(ThreadPoolExecutor, "shutdown", told)
    monkeypatch.setattr(ThreadPoolExecutor, "submit", submitted)
    with pytest.raises(StoppedMany) as caught:
        registry.add_many([folder], base="base", batch=2)
    assert sizes == [2]
    assert [one.ref for one in caught.value.found.files] == ["ft-1@1", "ft-2@1"]
    assert [version.ref for version in registry.versions()] == ["ft-1@1", "ft-2@1"]


def test_interrupted_again_in_the_last_commit(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first interrupt comes between two files, the second while these are committed."""
    commit_all = batch.commit_all

    def interrupting(prepared: Sequence[Any], repository: Any) -> Any:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return commit_all(prepared, repository)

    def progress(stage: str, done: int, total: int) -> None:
        if stage == FILES and done == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(batch, "SECONDS", 3600.0)
    monkeypatch.setattr(batch, "commit_all", interrupting)
    with pytest.raises(KeyboardInterrupt) as caught:
        registry.add_many([folder], base="base", progress=progress)
    assert isinstance(caught.value, StoppedMany)
    assert [one.ref for one in caught.value.found.files] == ["ft-1@1", "ft-2@1"]
    assert [version.ref for version in registry.versions()] == ["ft-1@1", "ft-2@1"]


def test_what_was_prepared_is_committed_before_an_error_is_raised(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        if stage == FILES and done == 2:
            raise ZeroDivisionError

    monkeypatch.setattr(batch, "SECONDS", 3600.0)
    with pytest.raises(ZeroDivisionError):
        registry.add_many([folder], base="base", progress=progress)
    assert [version.ref for version in registry.versions()] == ["ft-1@1", "ft-2@1"]


def test_a_commit_that_fails_is_not_tried_again(
    registry: Registry, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have written its event; an interrupt that ends the wait for it hides no error."""
    tried = []

    def failing(prepared: Sequence[Any], repository: Any) -> Any:
        tried.append(len(prepared))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        raise StorageError("the disk is gone")

    monkeypatch.setattr(batch, "commit_all", failing)
    with pytest.raises(StorageError, match="the disk is gone"):
        registry.add_many([folder], base="base", batch=2)
    assert tried == [2]


def test_interrupted(registry: Registry, folder: Path) -> None:
    def progress(stage: str, done: int, total: int) -> None:
        if stage == FILES and done == 2:
            raise KeyboardInterrupt

    shutil.copy(folder / "ft-1.safetensors", folder / "a-copy.safetensors")
    (folder / "b-link.safetensors").symlink_to("a-copy.safetensors")
    with pytest.raises(KeyboardInterrupt) as caught:
        registry.add_many([folder], base="base", progress=progress)
    assert isinstance(caught.value, StoppedMany)
    found = caught.value.found
    assert outcomes(found) == [
        ("a-copy.safetensors", "added", "a-copy@1"),
        ("ft-1.safetensors", "added", "ft-1@1"),
    ]
    assert found.files[0].container == found.files[1].container
    assert found.stored_bytes == found.files[0].stored_bytes  # the same bytes are stored once
    assert [path.stem for path in found.not_reached] == ["ft-2", "ft-3", "ft-4"]
    assert len(found.repeats) == 1
    again = registry.add_many([folder], base="base")
    assert [one.outcome for one in again.files] == ["there"] * 2 + ["added"] * 3
