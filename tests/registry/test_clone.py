"""Clones: the whole history, every object, linked bases; stopped at any step, and gone on with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from faults.crashes import states
from faults.recording import recording

from dsvd_registry import Registry
from dsvd_registry.errors import Conflict, DsvdError, NotFound

from .conftest import flip, object_path
from .exchanging import belongings, events, files_of, make_studio, objects


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("studio")
    make_studio(at)
    return at


@pytest.fixture
def at(template: Path, tmp_path: Path) -> Path:
    """A folder with a registry to clone, `registry`; the links in it lead into this folder."""
    place = Path(shutil.copytree(template, tmp_path / "at"))
    with Registry.open(place / "registry") as studio:
        studio.add_base("sd15", place / "base.safetensors", link=True)
        studio.add_base("folder", place / "base-folder", link=True)
        studio.collect_garbage(grace_days=0)
    return place


def test_a_clone_is_whole(at: Path) -> None:
    there = events(at / "registry")
    with Registry.clone(at / "registry", at / "desk") as desk:
        here = events(at / "desk")
        assert there.items() <= here.items() and len(here) == len(there) + 2
        # The history knows the version that was removed, whose object no registry has any more.
        assert [(v.ref, v.removed is None) for v in desk.history("one")] == [
            ("one@1", False), ("one@2", True)
        ]  # fmt: skip
        with Registry.open(at / "registry") as studio:
            assert desk.versions() == studio.versions()
            for version in studio.versions():
                assert belongings(desk, version.ref) == belongings(studio, version.ref)
                for registry in (studio, desk):
                    registry.materialize(
                        version.ref, at / f"out-{registry.folder.name}-{version.ref}"
                    )
                names = [f"out-{name}-{version.ref}" for name in ("registry", "desk")]
                assert files_of(at / names[0]) == files_of(at / names[1]) != {}
        assert all(base.link is None for base in desk.bases())
        assert [(one.name, one.url) for one in desk.remotes()] == [("origin", str(at / "registry"))]
        assert not desk.pull("origin").changed and not desk.push("origin").changed
    (at / "base.safetensors").unlink()
    shutil.rmtree(at / "base-folder")
    with Registry.open(at / "desk") as desk:
        assert desk.verify(deep=True).findings == ()
        desk.collect_garbage(grace_days=0)
        assert objects(at / "registry").keys() < objects(at / "desk").keys()
        assert desk.verify(deep=True).findings == ()


def test_what_is_no_place_for_a_clone(at: Path) -> None:
    with pytest.raises(NotFound, match="nothing is not a registry"):
        Registry.clone(at / "nothing", at / "desk")
    assert not (at / "desk").exists()
    (at / "desk").mkdir()
    (at / "desk/mine.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"it has mine\.txt"):
        Registry.clone(at / "registry", at / "desk")
    with pytest.raises(Conflict, match="is a registry already"):
        Registry.clone(at / "registry", at / "registry")
    assert [path.name for path in (at / "desk").iterdir()] == ["mine.txt"]


def test_a_damaged_registry_is_not_cloned(at: Path) -> None:
    """What was copied is no registry, and the clone goes on when the object is repaired."""
    with Registry.open(at / "registry") as studio:
        place = object_path(at / "registry", studio.version("lora").container)
    flip(place)
    with pytest.raises(DsvdError, match="the container of lora@1, is damaged"):
        Registry.clone(at / "registry", at / "desk")
    with pytest.raises(NotFound):
        Registry.open(at / "desk")
    flip(place)
    with Registry.open(at / "registry") as studio:  # and the registry has changed meanwhile
        studio.add(at / "other.safetensors", base="sd15", name="late", tau=0.5)
    with Registry.clone(at / "registry", at / "desk") as desk:
        assert desk.verify(deep=True).findings == () and desk.version("late").number == 1


def test_a_clone_that_was_stopped_goes_on(tmp_path: Path) -> None:
    """Killed or without power at any step, it is no registry or a whole one; the same call ends it."""
    before, after, copy = tmp_path / "before", tmp_path / "after", tmp_path / "copy"
    studio = tmp_path / "studio"
    for folder in (before, after, copy, studio):
        folder.mkdir()
    make_small(studio)
    with recording(after) as made:
        Registry.clone(studio / "registry", after / "registry").close()
    expected = events(studio / "registry")
    seen = set()
    for state, returned, where in states(before, made):
        if state.key in seen:
            continue
        seen.add(state.key)
        state.write(copy)
        is_one = (copy / "registry/registry.json").exists()
        assert is_one or not returned, where
        with (
            Registry.open(copy / "registry")
            if is_one
            else Registry.clone(studio / "registry", copy / "registry") as registry
        ):
            assert registry.verify(deep=len(seen) % 8 == 0).findings == (), where
            assert expected.items() <= events(copy / "registry").items(), where
            assert all(base.link is None for base in registry.bases()), where
            assert [one.name for one in registry.remotes()] == ["origin"], where
            registry.collect_garbage(grace_days=-1)
        assert not any((copy / "registry/tmp").iterdir()), where
    assert len(seen) > 60


def make_small(at: Path) -> None:
    from faults import scenarios

    scenarios.write_sources(at)
    with Registry.init(at / "registry") as registry:
        registry.add_base("sd15", at / "base.safetensors", link=True)
        scenarios.version(registry, at)
