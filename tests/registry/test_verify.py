"""`verify` finds every kind of damage, names what it hits, and goes on with the rest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from dsvd_registry import Registry
from dsvd_registry.errors import NotFound
from dsvd_registry.store import ObjectStore, RegistryFolder

from .conftest import TAU, Pair, flip, flip_tensor, object_path, replace_bytes
from .crafting import rewritten


@pytest.fixture
def full(registry: Registry, pair: Pair) -> Registry:
    """`subject@1`, `subject@2`, `other@1`, and `twin@1`, which shares the container of the first."""
    registry.add(pair.tuned_file, base="sd15", name="subject", tau=0.4)
    registry.add(pair.tuned_file, base="sd15", name="other", tau=0.3)
    registry.add(pair.tuned_file, base="sd15", name="twin", tau=TAU)
    return registry


def container(registry: Registry, ref: str) -> Path:
    return object_path(registry.folder, registry.version(ref).container)


@pytest.mark.parametrize("deep", [False, True])
def test_a_registry_that_is_well(full: Registry, deep: bool) -> None:
    found = full.verify(deep=deep)
    assert found.is_well
    assert (found.versions, found.bases, found.deep) == (4, 1, deep)
    sizes = {version.container: version.size for version in full.versions()}
    assert len(sizes) == 3
    assert found.bytes_read == sum(sizes.values()) + full.base("sd15").size
    assert full.verify("other", deep=deep).versions == 1
    with pytest.raises(NotFound):
        full.verify("nothing", deep=deep)


@pytest.mark.parametrize("part", [0.0, 0.002, 0.05, 0.5, 0.8, 0.9999])
def test_one_other_bit_in_a_container(full: Registry, part: float) -> None:
    path = container(full, "subject@2")
    flip(path, int(part * path.stat().st_size))
    for deep in (False, True):
        (finding,) = full.verify(deep=deep).findings
        assert finding.subjects == ("subject@2",)
        assert str(path) in finding.problem
    assert full.verify("subject@1", deep=True).is_well
    assert not full.verify("subject@2").is_well


def test_a_container_that_versions_share(full: Registry) -> None:
    flip(container(full, "twin"))
    (finding,) = full.verify().findings
    assert finding.subjects == ("subject@1", "twin@1")


@pytest.mark.parametrize("lose", [Path.unlink, lambda path: replace_bytes(path, b"")])
def test_a_container_that_is_gone(full: Registry, lose: Callable[[Path], None]) -> None:
    digest = full.version("other").container
    lose(object_path(full.folder, digest))
    (finding,) = full.verify(deep=True).findings
    assert finding.subjects == ("other@1",)
    assert digest in finding.problem


def test_one_damaged_version_hides_no_other(full: Registry) -> None:
    flip(container(full, "subject@2"))
    container(full, "other").unlink()
    flip(container(full, "twin"), 40)
    findings = full.verify(deep=True).findings
    assert [finding.subjects for finding in findings] == [
        ("subject@1", "twin@1"),
        ("subject@2",),
        ("other@1",),
    ]


@pytest.mark.parametrize("which", ["file", "manifest"])
def test_a_damaged_base(full: Registry, which: str) -> None:
    digest = getattr(full.base("sd15"), which)
    path = object_path(full.folder, digest)
    flip_tensor(path, "tied") if which == "file" else flip(path)
    (finding,) = full.verify().findings
    assert finding.subjects == ("base sd15", "subject@1", "subject@2", "other@1", "twin@1")
    assert digest in finding.problem
    # Deep: what each version gives, too.
    deep = full.verify(deep=True).findings
    named = {subject for found in deep for subject in found.subjects}
    assert named == {"base sd15", "subject@1", "twin@1", "subject@2", "other@1"}
    if which == "file":
        assert all("'tied'" in found.problem for found in deep[1:])
    assert not full.verify("other").is_well


def test_a_base_that_is_gone(full: Registry) -> None:
    digest = full.base("sd15").file
    object_path(full.folder, digest).unlink()
    assert [found.subjects for found in full.verify().findings] == [
        ("base sd15", "subject@1", "subject@2", "other@1", "twin@1")
    ]
    assert len(full.verify(deep=True).findings) == 4


def test_a_linked_base_that_changed(tmp_path: Path, pair: Pair) -> None:
    link = tmp_path / "base.safetensors"
    link.write_bytes(pair.base_file.read_bytes())
    with Registry.init(tmp_path / "registry") as registry:
        registry.add_base("sd15", link, link=True)
        registry.add(pair.tuned_file, base="sd15", name="subject", tau=TAU)
        assert registry.verify(deep=True).is_well
        flip_tensor(link, "tied")
        flip_tensor(link, "raw_shape")
        findings = registry.verify().findings
        assert [found.subjects for found in findings] == [("base sd15", "subject@1")] * 2
        assert ["'raw_shape'" in findings[0].problem, "'tied'" in findings[1].problem] == [True] * 2
        link.unlink()
        (finding,) = registry.verify().findings
        assert str(link) in finding.problem


def add_as_it_is(registry: Registry, model: str, data: bytes) -> None:
    """A version of `model` whose container is `data`; all else is that of `subject`."""
    version = registry.version("subject")
    stored = ObjectStore(RegistryFolder(registry.folder)).put(data)
    registry.repository.catalog.add_version(
        model,
        container=stored.sha256,
        size=stored.size,
        base=version.base,
        source=version.source,
        settings=version.settings,
        summary=version.summary,
    )


@pytest.mark.parametrize("field", ["sha256", "size"])
def test_a_result_that_is_a_lie_is_found_by_deep_alone(registry: Registry, field: str) -> None:
    wrong = {"sha256": "0" * 64, "size": 7}[field]
    version = registry.version("subject")
    lie = rewritten(
        object_path(registry.folder, version.container),
        lambda header: header["results"][0].update({field: wrong}),
    )
    add_as_it_is(registry, "liar", lie)
    assert registry.verify().is_well
    (finding,) = registry.verify(deep=True).findings
    assert finding.subjects == ("liar@1",)
    assert str(wrong) in finding.problem


@pytest.mark.parametrize("field", ["base", "source"])
def test_a_container_that_is_another_than_the_catalog_says(registry: Registry, field: str) -> None:
    version = registry.version("subject")
    key = "digest" if field == "base" else "sha256"
    changed = rewritten(
        object_path(registry.folder, version.container),
        lambda header: header[field].update({key: "0" * 64}),
    )
    add_as_it_is(registry, "other", changed)
    (finding,) = registry.verify().findings
    assert finding.subjects == ("other@1",)
    assert f"another {field}" in finding.problem


def test_progress_reaches_the_end(full: Registry) -> None:
    steps: list[tuple[str, int, int]] = []
    found = full.verify(progress=lambda *step: steps.append(step))
    assert steps[-1] == ("verifying", found.bytes_read, found.bytes_read)
