"""Archiving and restoring: no file goes that does not come back to the byte, with its times."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from lora.small import base_weights, kohya, pairs
from safetensors.torch import save_file

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, InvalidArgument, NotFound
from dsvd_registry.registry.archiving import archive as archive_module

MTIME = 1_600_000_000_123_456_789  # ns


def tuned(seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    numbers = torch.Generator().manual_seed(seed)
    return {
        name: (tensor + 0.01 * torch.randn(tensor.shape, generator=numbers)).to(dtype)
        for name, tensor in base_weights().items()
    }


def status_of(path: Path) -> tuple[bytes, int, int]:
    found = path.lstat()
    return path.read_bytes(), found.st_mtime_ns, stat.S_IMODE(found.st_mode)


def tree(folder: Path) -> dict[str, tuple[bytes, int, int]]:
    """Every file below a folder: its bytes, time and permissions."""
    return {
        path.relative_to(folder).as_posix(): status_of(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Two fine-tunes, a LoRA in each format and a picture, with times and permissions of their own."""
    folder = tmp_path / "models"
    (folder / "loras/old").mkdir(parents=True)
    save_file(tuned(1), folder / "subject-1.safetensors", {"title": "One"})
    save_file(tuned(2, torch.float16), folder / "subject-2.safetensors")
    save_file(kohya(pairs()), folder / "loras/dog.safetensors", {"ss_tag_frequency": "{é}"})
    torch.save(kohya(pairs(scale=0.5)), folder / "loras/old/cat.pt")
    (folder / "subject-1.preview.png").write_bytes(b"a picture")
    for number, path in enumerate(sorted(folder.rglob("*.*"))):
        os.utime(path, ns=(MTIME, MTIME + number))
        path.chmod((0o644, 0o600, 0o444, 0o640, 0o664)[number])
    return folder


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    save_file(base_weights(), tmp_path / "base.safetensors")
    with Registry.init(tmp_path / "registry") as opened:
        opened.add_base("sd15", tmp_path / "base.safetensors")
        yield opened


def test_a_folder_comes_back_as_it_was(registry: Registry, models: Path) -> None:
    before = tree(models)
    plan = registry.plan_archive(models)
    assert [file.path.name for file in plan.files] == [
        "subject-1.safetensors", "subject-2.safetensors", "dog.safetensors", "cat.pt",
    ]  # fmt: skip
    assert [file.is_lora for file in plan.files] == [False, False, True, True]
    assert (plan.staying, plan.other_files) == ((), 1)
    assert tree(models) == before and registry.versions() == []
    archived = registry.archive(plan)
    assert archived.staying == () and archived.exit_code == 0
    assert list(tree(models)) == ["subject-1.preview.png"]
    objects = sum(p.stat().st_size for p in (registry.folder / "objects").rglob("*") if p.is_file())
    assert objects == archived.stored_bytes + sum(
        path.stat().st_size
        for path in (
            registry.folder / "objects" / sha256[:2] / sha256
            for base in registry.bases()
            for sha256 in (base.manifest, base.file)
        )
    )
    gone = [data for name, (data, *_) in before.items() if not name.endswith("png")]
    assert archived.file_bytes == sum(map(len, gone))
    registry.collect_garbage(grace_days=-1)
    restored = registry.restore(models)
    assert {file.outcome for file in restored.files} == {"restored"} and len(restored.files) == 4
    assert tree(models) == before
    assert registry.repository.catalog.archived_files() == [] and registry.verify(deep=True).is_well


def test_the_catalog_may_be_lost_meanwhile(registry: Registry, models: Path) -> None:
    before = tree(models)
    registry.archive(registry.plan_archive(models))
    folder = registry.folder
    registry.close()
    for path in folder.glob("catalog.sqlite*"):
        path.unlink()
    with Registry.open(folder) as again:
        again.restore(models)
        assert tree(models) == before
        assert again.verify(deep=True).is_well


def test_one_ref_and_one_path(registry: Registry, models: Path) -> None:
    before = tree(models)
    registry.archive(registry.plan_archive(models))
    (one,) = registry.restore("dog").files
    assert one.path == models / "loras/dog.safetensors"
    (other,) = registry.restore(str(models / "subject-1.safetensors")).files
    assert other.ref == "subject-1@1"
    for name in ("loras/dog.safetensors", "subject-1.safetensors"):
        assert tree(models)[name] == before[name]
    with pytest.raises(NotFound):
        registry.restore("dog")
    with pytest.raises(NotFound):
        registry.restore(models / "loras/dog.safetensors")
    assert len(registry.repository.catalog.archived_files()) == 2


def test_to_another_path(registry: Registry, models: Path, tmp_path: Path) -> None:
    before = tree(models)
    registry.archive(registry.plan_archive(models))
    with pytest.raises(InvalidArgument, match="4 archived files"):
        registry.restore(models, tmp_path / "out")
    registry.restore("dog", tmp_path / "out")
    assert status_of(tmp_path / "out") == before["loras/dog.safetensors"]
    assert len(registry.repository.catalog.archived_files()) == 3
    registry.restore("dog", tmp_path / "again")  # not archived any more, and still lossless
    assert (tmp_path / "again").read_bytes() == before["loras/dog.safetensors"][0]
    with pytest.raises(Conflict):
        registry.restore("dog", registry.folder / "x")


def test_the_original_of_any_lossless_version(registry: Registry, models: Path) -> None:
    for path in (models / "subject-2.safetensors", models / "loras/dog.safetensors"):
        ref = registry.add(path, base="sd15", lossless=True).ref
        with registry.open_original(ref) as file:
            assert file.read() == path.read_bytes()
            file.seek(8)
            assert file.read(5) == path.read_bytes()[8:13]
    lossy = registry.add(models / "subject-1.safetensors", base="sd15", tau=0.2).ref
    with pytest.raises(InvalidArgument, match="does not have the bytes"):
        registry.open_original(lossy)


# What stays, and a word of the reason.


def stays(registry: Registry, folder: Path, **options: object) -> dict[str, str]:
    """The reasons by path; an archive changes none of these files."""
    before = tree(folder)
    archived = registry.archive(registry.plan_archive(folder, **options))
    found = {file.path.relative_to(folder).as_posix(): file.reason for file in archived.staying}
    assert {name: before[name] for name in found if name in before} == {
        name: data for name, data in tree(folder).items() if name in found
    }
    return found


def test_what_cannot_come_back_stays(registry: Registry, models: Path, tmp_path: Path) -> None:
    torch.save(tuned(3), models / "torch.ckpt")
    shutil.copy(tmp_path / "base.safetensors", models / "copy-of-base.safetensors")
    os.link(models / "subject-1.safetensors", models / "second-name.safetensors")
    (models / "link.safetensors").symlink_to(models / "subject-2.safetensors")
    (models / "broken.safetensors").write_bytes(b"nothing of the kind")
    save_file({"another.model": torch.ones(3, 3)}, models / "foreign.safetensors")
    folder = models / "diffusers"
    (folder / "unet").mkdir(parents=True)
    (folder / "model_index.json").write_text('{"_class_name": "StableDiffusionPipeline"}')
    found = stays(registry, models)
    words = {
        "torch.ckpt": "would come back as a safetensors file",
        "copy-of-base.safetensors": "is the base sd15",
        "subject-1.safetensors": "2 names",
        "second-name.safetensors": "2 names",
        "link.safetensors": "symbolic link",
        "broken.safetensors": "not a checkpoint",
        "foreign.safetensors": "",
        "diffusers": "folder of several files",
    }
    assert found.keys() == words.keys()
    assert all(words[name] in reason for name, reason in found.items())
    gone = {"subject-2.safetensors", "loras/dog.safetensors", "loras/old/cat.pt"}
    assert not [name for name in gone if (models / name).exists()]


def test_the_registry_and_a_linked_base_stay(models: Path) -> None:
    save_file(base_weights(), models / "base.safetensors")
    with Registry.init(models / "registry") as registry:
        registry.add_base("sd15", models / "base.safetensors", link=True)
        found = stays(registry, models)
        assert "of the base" in found["base.safetensors"]
        assert "folder of the registry" in found["registry"]
        assert set(found) == {"base.safetensors", "registry"}
        assert registry.verify(deep=True).is_well


def test_damage_that_verify_finds(
    registry: Registry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object that is flipped after the addition: the file stays, and is no archived file."""
    before = tree(models)
    really = archive_module.add_version

    def damaged(*arguments: object) -> object:
        added = really(*arguments)  # type: ignore[arg-type]
        sha256 = list(added.version.objects)[-1]
        place = registry.folder / "objects" / sha256[:2] / sha256
        place.chmod(0o644)
        data = bytearray(place.read_bytes())
        data[len(data) // 2] ^= 1
        place.write_bytes(data)
        return added

    monkeypatch.setattr(archive_module, "add_version", damaged)
    archived = registry.archive(registry.plan_archive(models))
    assert archived.files == () and len(archived.staying) == 4
    assert archived.exit_code in (1, 6, 8)
    assert tree(models) == before and registry.repository.catalog.archived_files() == []


@pytest.mark.parametrize("when", ["before the check", "after the check", "after the record"])
@pytest.mark.parametrize("how", ["written to", "replaced", "same size and time"])
def test_a_file_that_changes_meanwhile(
    registry: Registry, models: Path, monkeypatch: pytest.MonkeyPatch, when: str, how: str
) -> None:
    path = models / "subject-1.safetensors"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1

    def change() -> None:
        status = path.stat()
        if how == "replaced":
            (models / "new").write_bytes(changed)
            (models / "new").rename(path)
            return
        path.chmod(0o644)
        path.write_bytes(bytes(changed) + (b"more" if how == "written to" else b""))
        if how == "same size and time":
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    name = {
        "before the check": "verify_objects", "after the check": "sha256_file",
        "after the record": "_delete",
    }[when]  # fmt: skip
    really: Callable[..., object] = getattr(archive_module, name)

    def then(*arguments: object, **named: object) -> object:
        if when == "after the check":
            found = really(*arguments, **named)
            change()
            return found
        change()
        return really(*arguments, **named)

    plan = registry.plan_archive(models)
    only = [file for file in plan.files if file.path == path]
    monkeypatch.setattr(archive_module, name, then)
    archived = registry.archive(type(plan)(**{**vars(plan), "files": tuple(only)}))
    assert [file.path for file in archived.staying] == [path] and archived.exit_code == 9
    assert path.read_bytes().startswith(bytes(changed))
    assert registry.repository.catalog.archived_files() == []


def test_a_base_that_is_gone(registry: Registry, models: Path) -> None:
    """Nothing is added, and nothing deleted."""
    before = tree(models)
    plan = registry.plan_archive(models)
    manifest = registry.base("sd15").file
    place = registry.folder / "objects" / manifest[:2] / manifest
    place.rename(models.parent / "kept")
    archived = registry.archive(plan)
    assert archived.files == () and archived.exit_code in (7, 8) and tree(models) == before
    (models.parent / "kept").rename(place)
    assert len(registry.archive(plan).files) == 4


# Restoring


def test_another_file_is_never_replaced(registry: Registry, models: Path) -> None:
    before = tree(models)
    registry.archive(registry.plan_archive(models))
    mine = models / "subject-1.safetensors"
    mine.write_bytes(b"mine")
    (models / "loras/dog.safetensors").symlink_to(models / "elsewhere")
    (models / "loras/old/cat.pt").mkdir()
    outcomes = {file.path.name: file.outcome for file in registry.restore(models).files}
    assert outcomes == {
        "subject-1.safetensors": "refused", "subject-2.safetensors": "restored",
        "dog.safetensors": "refused", "cat.pt": "refused",
    }  # fmt: skip
    assert mine.read_bytes() == b"mine" and (models / "loras/dog.safetensors").is_symlink()
    assert len(registry.repository.catalog.archived_files()) == 3
    forced = registry.restore(models, replace=True)
    assert forced.exit_code == 4  # of the folder
    (models / "loras/old/cat.pt").rmdir()
    registry.restore(models)
    assert tree(models) == before


def test_a_file_that_is_there(registry: Registry, models: Path) -> None:
    """Only its time and permissions are put right."""
    before = tree(models)
    data = before["subject-1.safetensors"][0]
    registry.archive(registry.plan_archive(models))
    (models / "subject-1.safetensors").write_bytes(data)
    inode = (models / "subject-1.safetensors").stat().st_ino
    outcomes = {file.path.name: file.outcome for file in registry.restore(models).files}
    assert outcomes.pop("subject-1.safetensors") == "there" and set(outcomes.values()) == {
        "restored"
    }
    assert (models / "subject-1.safetensors").stat().st_ino == inode
    assert tree(models) == before


def test_a_folder_that_is_gone_is_made(registry: Registry, models: Path) -> None:
    before = tree(models)
    registry.archive(registry.plan_archive(models))
    shutil.rmtree(models / "loras")
    registry.restore(models)
    assert tree(models) == before


def test_what_files_need_cannot_be_removed(registry: Registry, models: Path) -> None:
    registry.archive(registry.plan_archive(models))
    for ref in ("subject-1", "dog"):
        for remove in (registry.thin, registry.remove_version):
            with pytest.raises(Conflict, match="only copy") as caught:
                remove(ref)
            assert f"dsvd restore {ref}@1" in caught.value.hint
    with pytest.raises(Conflict):
        registry.remove_base("sd15")
    registry.restore(models)
    registry.thin("dog")
    registry.remove_version("subject-1")


def test_damage_is_met_before_a_file_is_written(registry: Registry, models: Path) -> None:
    registry.archive(registry.plan_archive(models))
    before = tree(models)
    for version in registry.versions():
        part = version.original or version.residual
        assert part is not None
        place = registry.folder / "objects" / part.sha256[:2] / part.sha256
        place.chmod(0o644)
        data = bytearray(place.read_bytes())
        data[-1] ^= 1
        place.write_bytes(data)
    restored = registry.restore(models)
    assert {file.outcome for file in restored.files} == {"refused"} and restored.exit_code
    assert tree(models) == before and len(registry.repository.catalog.archived_files()) == 4


# Links


@pytest.fixture
def mount(tmp_path: Path, registry: Registry, models: Path) -> Path:
    """A folder as `dsvd mount` shows it, with files of its own: FUSE has a test of its own."""
    folder = tmp_path / "mount"
    for name in ("checkpoints", "loras"):
        (folder / name).mkdir(parents=True)
    for name in ("subject-1", "subject-2"):
        shutil.copy(models / f"{name}.safetensors", folder / f"checkpoints/{name}@1.safetensors")
    shutil.copy(models / "loras/dog.safetensors", folder / "loras/dog@1.safetensors")
    return folder


def test_links_take_the_places(registry: Registry, models: Path, mount: Path) -> None:
    before = tree(models)
    archived = registry.archive(registry.plan_archive(models, link_to=mount))
    link = models / "subject-1.safetensors"
    assert link.readlink() == mount / "checkpoints/subject-1@1.safetensors"
    assert link.read_bytes() == before["subject-1.safetensors"][0]
    lora = models / "loras/dog.safetensors"
    assert lora.readlink() == mount / "loras/dog@1.safetensors"
    (stayed,) = archived.staying
    assert stayed.path == models / "loras/old/cat.pt" and "does not show" in stayed.reason
    again = registry.plan_archive(models, link_to=mount)
    reasons = {file.path.name: file.reason for file in again.staying}
    assert reasons == dict.fromkeys(
        ("subject-1.safetensors", "subject-2.safetensors", "dog.safetensors"), "is archived already"
    )
    registry.restore(models)
    assert tree(models) == before and not link.is_symlink()


def test_restored_elsewhere_the_link_goes(
    registry: Registry, models: Path, mount: Path, tmp_path: Path
) -> None:
    before = tree(models)
    registry.archive(registry.plan_archive(models, link_to=mount))
    registry.restore("dog", tmp_path / "dog.safetensors")
    assert status_of(tmp_path / "dog.safetensors") == before["loras/dog.safetensors"]
    assert not os.path.lexists(models / "loras/dog.safetensors")


def test_a_mount_with_other_bytes(registry: Registry, models: Path, mount: Path) -> None:
    """As one of another registry: the size is the same. Nothing goes but what is shown."""
    before = tree(models)
    shown = mount / "checkpoints/subject-1@1.safetensors"
    data = bytearray(shown.read_bytes())
    data[-1] ^= 1
    shown.chmod(0o644)
    shown.write_bytes(data)
    archived = registry.archive(registry.plan_archive(models, link_to=mount, loras=False))
    (stayed,) = (file for file in archived.staying if file.exit_code)
    assert stayed.path == models / "subject-1.safetensors" and stayed.exit_code == 2
    assert "does not show" in stayed.reason and "--tau" in stayed.hint
    assert tree(models)["subject-1.safetensors"] == before["subject-1.safetensors"]
    assert (models / "subject-2.safetensors").is_symlink()


def test_what_is_no_mount(registry: Registry, models: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="not a mounted registry"):
        registry.plan_archive(models, link_to=tmp_path)
    with pytest.raises(InvalidArgument, match="is not a folder"):
        registry.plan_archive(models / "subject-1.safetensors")


# The room


def test_a_lora_stays_if_that_is_asked_for(registry: Registry, models: Path) -> None:
    before = tree(models)
    loras = {models / "loras/dog.safetensors", models / "loras/old/cat.pt"}
    archived = registry.archive(registry.plan_archive(models, loras=False))
    assert {file.path for file in archived.staying} == loras and archived.exit_code == 0
    for file in archived.staying:
        assert "more room than it frees" in file.reason and "--no-loras" in file.hint
    assert all(tree(models)[name] == before[name] for name in before if "loras/" in name)
    # One that the registry gives back already frees all its room.
    registry.add(models / "loras/dog.safetensors", base="sd15", name="dog", lossless=True)
    registry.add(models / "loras/old/cat.pt", base="sd15", name="cat")
    plan = registry.plan_archive(models, loras=False)
    (dog,) = plan.files
    assert dog.path == models / "loras/dog.safetensors"
    assert (dog.stored_bytes, plan.freed_bytes) == (0, dog.size)
    archived = registry.archive(plan)
    assert archived.stored_bytes == 0 and archived.freed_bytes == dog.size
    registry.restore(models)
    assert tree(models) == before


def test_the_estimate_of_a_lora_is_a_bound(registry: Registry, models: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32):
        save_file(kohya(pairs(dtype)), models / f"loras/{str(dtype)[6:]}.safetensors")
    plan = registry.plan_archive(models / "loras")
    assert len(plan.files) == 5
    archived = registry.archive(plan)
    took = {version.source.size: version.stored_size for version in registry.versions()}
    for file in plan.files:
        assert file.stored_bytes is not None
        assert file.size < took[file.size] <= file.stored_bytes
    assert plan.freed_bytes is not None
    assert plan.freed_bytes <= archived.freed_bytes < 0


# With a tau


def test_lossily(registry: Registry, models: Path) -> None:
    """LoRAs are kept to the byte all the same."""
    before = tree(models)
    plan = registry.plan_archive(models, tau=0.5)
    assert plan.lossy_files == (models / "subject-1.safetensors", models / "subject-2.safetensors")
    assert plan.freed_bytes is None
    registry.archive(plan)
    restored = {file.path.name: file for file in registry.restore(models).files}
    assert [name for name, file in restored.items() if not file.is_exact] == [
        "subject-1.safetensors", "subject-2.safetensors",
    ]  # fmt: skip
    after = tree(models)
    for name in ("loras/dog.safetensors", "loras/old/cat.pt"):
        assert after[name] == before[name]
    for name in ("subject-1", "subject-2"):
        made = registry.materialize(name, models / f"{name}-made.safetensors").path
        assert made.read_bytes() == (models / f"{name}.safetensors").read_bytes()


def test_a_file_of_an_interrupted_run_is_finished(
    registry: Registry, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An interrupt between the record and the deletion of the second file."""
    before = tree(models)
    really = archive_module._delete

    def interrupted(file: object, *others: object) -> None:
        if file.path.name == "subject-2.safetensors":  # type: ignore[attr-defined]
            raise KeyboardInterrupt
        really(file, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(archive_module, "_delete", interrupted)
    with pytest.raises(archive_module.StoppedArchive) as caught:
        registry.archive(registry.plan_archive(models))
    found = caught.value.found
    assert [file.path.name for file in found.files] == ["subject-1.safetensors"]
    assert [path.name for path in found.not_reached] == [
        "subject-2.safetensors", "dog.safetensors", "cat.pt",
    ]  # fmt: skip
    monkeypatch.undo()
    assert len(registry.archive(registry.plan_archive(models)).files) == 3
    registry.restore(models)
    assert tree(models) == before
