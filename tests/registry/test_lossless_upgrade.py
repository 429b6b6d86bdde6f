"""A version becomes lossless and lossy again; what it needs is kept, and nothing is computed twice."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from trained_pair import one_thread

from dsvd_registry import Registry
from dsvd_registry.errors import NotFound, RegistryError
from dsvd_registry.registry.upkeep.residuals import attach_residual

from .conftest import files_in, object_path, run_python, sha256, write_safetensors
from .lossless_registry import TAU, residual_path, weights, write_sources

DAY = 86400.0
ADD_AGAIN = """
import sys
from dsvd_registry import Registry
with Registry.open(sys.argv[1]) as registry:
    tau = float(sys.argv[4]) if sys.argv[4:] else None
    added = registry.add(sys.argv[2], base="base", name=sys.argv[3], lossless=True, tau=tau)
print(added.created, added.upgraded, added.ref)
print("dsvd_registry.encoding.residual" in sys.modules, "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    at = tmp_path_factory.mktemp("sources")
    write_sources(at)
    return at


@pytest.fixture
def one(sources: Path) -> Path:
    return sources / "one.safetensors"


@pytest.fixture
def registry(sources: Path, tmp_path: Path) -> Iterator[Registry]:
    """A registry with the base, and the lossy version `one@1` at `TAU`."""
    with Registry.init(tmp_path / "registry") as made, one_thread():
        made.add_base("base", sources / "base.safetensors")
        made.add(sources / "one.safetensors", base="base", name="one", tau=TAU)
        yield made


def objects(registry: Registry) -> set[str]:
    return {Path(path).name for path in files_in(registry.folder / "objects")}


def gives_the_source(registry: Registry, ref: str, source: Path, at: Path) -> bool:
    made = registry.materialize(ref, at / "out", replace=True)
    return made.lossless and sha256(made.path) == sha256(source)


@pytest.mark.parametrize("tau", [TAU, None])
def test_a_lossy_version_gets_its_residual(
    registry: Registry, one: Path, tmp_path: Path, tau: float | None
) -> None:
    """Added with its tau, or without any: every version of the source is accepted."""
    was, before = registry.version("one"), objects(registry)
    lossy = registry.materialize("one", tmp_path / "lossy")
    added = registry.add(one, base="base", name="one", tau=tau, lossless=True)
    assert (added.ref, added.created, added.upgraded) == ("one@1", False, True)
    assert (added.version.container, added.version.settings) == (was.container, was.settings)
    assert added.version == registry.version("one")
    (new,) = objects(registry) - before
    assert added.version.residual is not None and added.version.residual.sha256 == new
    assert gives_the_source(registry, "one", one, tmp_path)
    again = registry.materialize("one", tmp_path / "again", tau=TAU)
    assert again.sha256 == lossy.sha256
    assert registry.verify(deep=True).is_well
    Registry.rebuild_catalog(registry.folder)
    assert registry.version("one") == added.version


def test_another_tau_is_another_version(registry: Registry, one: Path, tmp_path: Path) -> None:
    added = registry.add(one, base="base", name="one", tau=0.3, lossless=True)
    assert (added.ref, added.created, added.upgraded) == ("one@2", True, False)
    assert registry.version("one@1").residual is None
    assert gives_the_source(registry, "one@2", one, tmp_path)
    assert registry.verify(deep=True).is_well


@pytest.mark.parametrize("tau", [(), (TAU,)])
def test_it_is_recognised(registry: Registry, one: Path, tau: tuple[float, ...]) -> None:
    registry.add(one, base="base", name="one", tau=TAU, lossless=True)
    before = files_in(registry.folder / "objects"), files_in(registry.folder / "events")
    times = {
        name: object_path(registry.folder, name).stat().st_mtime_ns for name in objects(registry)
    }
    printed = run_python(ADD_AGAIN, registry.folder, one, "one", *tau)
    assert printed.split() == ["False", "False", "one@1", "False", "False"]
    assert (files_in(registry.folder / "objects"), files_in(registry.folder / "events")) == before
    found = {
        name: object_path(registry.folder, name).stat().st_mtime_ns for name in objects(registry)
    }
    assert found == times


@pytest.mark.parametrize("tau", [TAU, None])
def test_another_model_shares_both(registry: Registry, one: Path, tau: float | None) -> None:
    """Container and residual, and computes neither."""
    registry.add(one, base="base", name="one", tau=tau, lossless=True)
    registry.add(one, base="base", name="free", lossless=True)
    before = objects(registry)
    arguments = (tau,) if tau is not None else ()
    printed = run_python(ADD_AGAIN, registry.folder, one, "twin", *arguments)
    assert printed.split() == ["True", "False", "twin@1", "False", "False"]
    assert objects(registry) == before
    first, twin = registry.version("one" if tau is not None else "free"), registry.version("twin")
    assert (twin.container, twin.residual) == (first.container, first.residual)
    assert registry.verify(deep=True).is_well


def test_an_upgrade_takes_the_residual_that_another_model_has(
    registry: Registry, one: Path
) -> None:
    registry.add(one, base="base", name="twin", tau=TAU, lossless=True)
    before = objects(registry)
    printed = run_python(ADD_AGAIN, registry.folder, one, "one", TAU)
    assert printed.split() == ["False", "True", "one@1", "False", "False"]
    assert objects(registry) == before


def test_many_are_made_lossless(registry: Registry, sources: Path, tmp_path: Path) -> None:
    paths = [sources / f"{name}.safetensors" for name in ("one", "two")]
    found = registry.add_many(paths, base="base", tau=TAU, lossless=True)
    assert [file.outcome for file in found.files] == ["upgraded", "added"]
    assert found.safe_to_delete == tuple(paths)
    assert found.stored_bytes == sum(registry.version(n).stored_size for n in ("one", "two"))
    again = registry.add_many(paths, base="base", tau=TAU, lossless=True)
    assert [file.outcome for file in again.files] == ["there", "there"]
    assert again.safe_to_delete == tuple(paths)
    for path in paths:
        assert gives_the_source(registry, path.stem, path, tmp_path)
    lossy = registry.add_many(paths, base="base", tau=TAU)
    assert [file.outcome for file in lossy.files] == ["there", "there"]


def test_a_pickle_is_not_safe_to_delete(registry: Registry, sources: Path) -> None:
    """Its tensors come back, and its bytes do not."""
    found = registry.add_many([sources / "two.ckpt"], base="base", lossless=True)
    assert [file.outcome for file in found.files] == ["added"]
    assert registry.version("two").residual is not None
    assert found.safe_to_delete == ()


def test_thin(registry: Registry, one: Path, tmp_path: Path) -> None:
    """The result of the container alone stays as it was."""
    lossy = registry.materialize("one", tmp_path / "lossy")
    was = registry.version("one")
    full = registry.add(one, base="base", name="one", lossless=True).version
    assert full.residual is not None
    found = registry.thin("one")
    assert found.version == registry.version("one") == was
    assert found.freed_bytes == full.residual.size
    assert registry.materialize("one", tmp_path / "again").sha256 == lossy.sha256
    assert registry.usage().reclaimable == full.residual.size
    with pytest.raises(NotFound):
        registry.thin("one")
    with pytest.raises(NotFound):
        registry.thin("nobody")
    assert registry.verify(deep=True).is_well
    again = registry.add(one, base="base", name="one", lossless=True)
    assert again.upgraded and again.version.residual == full.residual  # the same bytes
    assert gives_the_source(registry, "one", one, tmp_path)
    registry.thin("one")
    registry.collect_garbage(grace_days=0)
    again = registry.add(one, base="base", name="one", lossless=True)
    assert again.upgraded and again.version.residual == full.residual
    assert gives_the_source(registry, "one", one, tmp_path)


def test_garbage(registry: Registry, one: Path, tmp_path: Path) -> None:
    """A residual goes when no live version needs it, and not before its time.

    Seen to fail: with the residual left out of `queries.referenced_objects`.
    """
    registry.add(one, base="base", name="one", tau=TAU, lossless=True)
    registry.add(one, base="base", name="twin", tau=TAU, lossless=True)
    path = residual_path(registry, "one")
    for name in objects(registry):
        os.utime(object_path(registry.folder, name), (time.time() - 100 * DAY,) * 2)
    assert registry.collect_garbage().objects == 0
    assert registry.thin("one").freed_bytes == 0  # the twin has it
    assert registry.collect_garbage().objects == 0
    assert gives_the_source(registry, "twin", one, tmp_path)
    assert registry.thin("twin").freed_bytes == path.stat().st_size
    os.utime(path)
    assert registry.collect_garbage().kept_young == 1 and path.exists()
    os.utime(path, (time.time() - 15 * DAY,) * 2)
    assert registry.collect_garbage().objects == 1 and not path.exists()
    registry.add(one, base="base", name="twin", tau=TAU, lossless=True)
    registry.remove_version("twin")
    assert registry.collect_garbage(grace_days=-1).objects == 1 and not path.exists()
    registry.remove_version("one")
    assert registry.collect_garbage(grace_days=-1).objects == 1
    assert len(objects(registry)) == 2  # the base and its manifest


def test_a_young_residual_is_not_taken_from_who_adds_it(registry: Registry, one: Path) -> None:
    """Added again, a residual that was thinned long ago has its time anew."""
    registry.add(one, base="base", name="one", lossless=True)
    path = residual_path(registry, "one")
    registry.thin("one")
    os.utime(path, (time.time() - 100 * DAY,) * 2)
    registry.add(one, base="base", name="one", lossless=True)
    registry.thin("one")
    assert registry.collect_garbage().objects == 0 and path.exists()


def test_what_gc_took_is_not_named(registry: Registry, one: Path) -> None:
    """Between a residual's writing and its event, by a collection without any grace time.

    Seen to fail: without `confirm` in `Catalog.set_residual`.
    """
    full = registry.add(one, base="base", name="one", lossless=True).version
    lossy = registry.thin("one").version
    registry.collect_garbage(grace_days=-1)
    before = files_in(registry.folder / "events")
    assert full.residual is not None
    with pytest.raises(RegistryError, match="is missing"):
        attach_residual(lossy, full.residual, registry.repository)
    assert files_in(registry.folder / "events") == before
    assert registry.version("one") == lossy


def test_a_removed_version_is_not_thinned(registry: Registry, one: Path) -> None:
    registry.add(one, base="base", name="one", lossless=True)
    registry.remove_version("one@1")
    with pytest.raises(NotFound):
        registry.thin("one@1")


def test_a_residual_that_was_lost_is_made_again(
    registry: Registry, one: Path, tmp_path: Path
) -> None:
    registry.add(one, base="base", name="one", lossless=True)
    path = residual_path(registry, "one")
    path.unlink()
    again = registry.add(one, base="base", name="one", lossless=True)
    assert (again.created, again.upgraded) == (False, False)
    assert path.exists() and gives_the_source(registry, "one", one, tmp_path)


def test_another_file_does_not_upgrade_it(registry: Registry, tmp_path: Path) -> None:
    """The same tensors under other metadata are another source."""
    other = write_safetensors(weights(1), tmp_path / "one.safetensors", {"of": "another"})
    added = registry.add(other, base="base", name="one", tau=TAU, lossless=True)
    assert (added.ref, added.created) == ("one@2", True)
    assert registry.version("one@1").residual is None
    assert gives_the_source(registry, "one@2", other, tmp_path)
