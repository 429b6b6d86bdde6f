from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry.catalog import CachedFingerprint, Catalog, FileState, Source
from dsvd_registry.errors import Conflict, InvalidArgument, NotFound
from dsvd_registry.store import EventLog, RegistryFolder

from .conftest import BASE

Add = Callable[..., Any]
OTHER: dict[str, Any] = {
    "digest": "d" * 64,
    "manifest": "3" * 64,
    "file": "4" * 64,
    "size": 5,
    "format": "pickle",
}


def events(registry: RegistryFolder) -> int:
    return len(list(EventLog(registry).after()))


def test_bases(catalog: Catalog, registry: RegistryFolder) -> None:
    added = catalog.add_base("sd14", **OTHER, link=Path("/models/sd14.ckpt"))
    assert added.link == Path("/models/sd14.ckpt")
    assert [base.name for base in catalog.bases()] == ["sd14", "sd15"]
    for name in ("sd14", "d" * 64, "d" * 6):
        assert catalog.base(name) == added
    with pytest.raises(NotFound) as caught:
        catalog.base("sd13")
    assert "Did you mean" in caught.value.hint
    with pytest.raises(NotFound):
        catalog.base("e" * 10)
    with pytest.raises(NotFound):
        catalog.base("ddd")
    assert catalog.referenced_objects() == {"1" * 64, "2" * 64, "3" * 64}
    assert catalog.remove_base("sd14") == added
    with pytest.raises(NotFound):
        catalog.remove_base("sd14")
    assert events(registry) == 3


def test_a_digest_prefix_of_two_bases(catalog: Catalog) -> None:
    catalog.add_base("other", **{**OTHER, "digest": "b" * 10 + "0" * 54})
    with pytest.raises(InvalidArgument, match="other, sd15"):
        catalog.base("b" * 10)
    assert catalog.base("b" * 11).name == "sd15"


def test_a_taken_base_name(catalog: Catalog, registry: RegistryFolder) -> None:
    with pytest.raises(Conflict, match="other weights"):
        catalog.add_base("sd15", **OTHER)
    with pytest.raises(Conflict, match="case alone"):
        catalog.add_base("SD15", **{**OTHER, "digest": BASE})
    with pytest.raises(Conflict, match="base sd15 already"):
        catalog.add_base("another", **{**OTHER, "digest": BASE})
    again = catalog.add_base("sd15", **{**OTHER, "digest": BASE})
    assert again == catalog.base("sd15")
    assert again.file == "2" * 64
    assert events(registry) == 1
    moved = catalog.add_base(
        "sd15", **{**OTHER, "digest": BASE}, link=Path("/new.ckpt"), replace=True
    )
    assert (moved.file, moved.link, moved.format) == ("4" * 64, Path("/new.ckpt"), "pickle")
    assert moved == catalog.base("sd15")


def test_a_base_that_is_needed(catalog: Catalog, add: Add) -> None:
    for number in range(7):
        add("subject", f"{number}")
    with pytest.raises(Conflict, match=r"subject@1, .*subject@5 and 2 more"):
        catalog.remove_base("sd15")
    for number in range(1, 8):
        catalog.remove_version("subject", number)
    catalog.remove_base("sd15")
    assert catalog.history("subject")[0].base_name is None


def test_versions(catalog: Catalog, add: Add) -> None:
    before = datetime.now(UTC)
    first = add("subject", "c", note="the first")
    second = add("subject", "d")
    assert (first.ref, second.ref) == ("subject@1", "subject@2")
    assert first.aliases == second.aliases == ("latest",)
    assert first.source == Source("safetensors", "c" * 64, 100)
    assert (first.base, first.base_name, first.note) == (BASE, "sd15", "the first")
    assert first.summary == {"tau": 0.5, "tensors": 3}
    assert before <= first.added <= second.added <= datetime.now(UTC)
    assert catalog.version("subject@1").aliases == ()
    assert catalog.version("subject") == catalog.version("subject@latest") == second


def test_refused_versions(catalog: Catalog, add: Add, registry: RegistryFolder) -> None:
    add("subject")
    with pytest.raises(Conflict, match="subject"):
        add("Subject")
    with pytest.raises(NotFound, match="no base"):
        add("subject", base="e" * 64)
    for model in ("con", "../x", "a@b", ""):
        with pytest.raises(InvalidArgument):
            add(model)
    for changes in ({"settings": "{ }"}, {"summary": {"x": float("inf")}}, {"note": "\ud800"}):
        with pytest.raises(InvalidArgument):
            add("subject", **changes)
    assert events(registry) == 2
    assert len(catalog.versions()) == 1


def test_numbers_are_not_used_again(catalog: Catalog, add: Add) -> None:
    for digit in "cde":
        add("subject", digit)
    gone = catalog.remove_version("subject", 3)
    assert gone.removed is not None
    assert gone.aliases == ()
    assert catalog.version("subject").number == 2
    assert add("subject", "f").number == 4
    for number in (1, 2, 4):
        catalog.remove_version("subject", number)
    with pytest.raises(NotFound, match="every version"):
        catalog.version("subject")
    assert catalog.versions() == []
    assert [model.latest for model in catalog.models()] == [None]
    assert [one.number for one in catalog.history("subject")] == [1, 2, 3, 4]
    assert all(one.removed for one in catalog.history("subject"))
    assert add("subject").number == 5
    assert catalog.referenced_objects() == {"c" * 64, "1" * 64, "2" * 64}


def test_not_found_says_what_is_near(catalog: Catalog, add: Add) -> None:
    for digit in "cdef":
        add("subject-42", digit)
    catalog.set_alias("subject-42", "prod", 1)
    catalog.remove_version("subject-42", 3)
    for ref, message, hint in (
        ("subjct-42", "no model", "Did you mean subject-42?"),
        ("SUBJECT-42", "no model", "Did you mean subject-42?"),
        ("zebra", "no model", "`dsvd ls`"),
        ("subject-42@7", "no version subject-42@7", "subject-42 has versions 1-2, 4."),
        ("subject-42@3", "was removed", "subject-42 has versions 1-2, 4."),
        ("subject-42@prd", "no alias", "Did you mean prod?"),
        ("subject-42@zzz", "no alias", "It has prod, latest."),
    ):
        with pytest.raises(NotFound, match=message) as caught:
            catalog.version(ref)
        assert hint in caught.value.hint
    with pytest.raises(NotFound):
        catalog.history("zebra")
    with pytest.raises(InvalidArgument):
        catalog.history("subject-42@1")


def test_aliases(catalog: Catalog, add: Add, registry: RegistryFolder) -> None:
    for digit in "cd":
        add("subject", digit)
    assert catalog.set_alias("subject", "prod", 1).aliases == ("prod",)
    assert catalog.set_alias("subject", "beta", 2).aliases == ("latest", "beta")
    count = events(registry)
    catalog.set_alias("subject", "prod", 1)
    assert events(registry) == count
    with pytest.raises(Conflict, match="subject@prod"):
        catalog.remove_version("subject", 1)
    with pytest.raises(Conflict, match="case alone"):
        catalog.set_alias("subject", "Prod", 2)
    with pytest.raises(InvalidArgument):
        catalog.set_alias("subject", "latest", 1)
    with pytest.raises(NotFound):
        catalog.set_alias("subject", "x", 9)
    assert catalog.set_alias("subject", "prod", 2).aliases == ("latest", "beta", "prod")
    assert catalog.version("subject@prod").number == 2
    catalog.remove_version("subject", 1)
    assert catalog.remove_alias("subject", "prod").aliases == ("latest", "beta")
    with pytest.raises(NotFound):
        catalog.remove_alias("subject", "prod")


def test_tags_and_notes(catalog: Catalog, add: Add, registry: RegistryFolder) -> None:
    add("subject")
    assert catalog.add_tag("subject", 1, "style").tags == ("style",)
    assert catalog.add_tag("subject", 1, "Anime").tags == ("Anime", "style")
    count = events(registry)
    catalog.add_tag("subject", 1, "Anime")
    catalog.set_note("subject", 1, "")
    assert events(registry) == count
    with pytest.raises(Conflict, match="case alone"):
        catalog.add_tag("subject", 1, "anime")
    with pytest.raises(NotFound) as caught:
        catalog.remove_tag("subject", 1, "stile")
    assert "Did you mean style?" in caught.value.hint
    assert catalog.remove_tag("subject", 1, "style").tags == ("Anime",)
    assert catalog.set_note("subject", 1, "é\n").note == "é\n"
    with pytest.raises(NotFound):
        catalog.add_tag("subject", 2, "x")
    with pytest.raises(NotFound):
        catalog.set_note("nobody", 1, "x")


def test_ls(catalog: Catalog, add: Add) -> None:
    catalog.add_base("sd14", **OTHER)
    for model, digit in (("dog-1", "c"), ("dog-2", "d"), ("cat", "e"), ("dog-1", "f")):
        add(model, digit)
    add("fox", "0", base="d" * 64)
    catalog.add_tag("cat", 1, "Pets")

    def listed(*args: Any, **kwargs: Any) -> list[str]:
        return [version.ref for version in catalog.versions(*args, **kwargs)]

    assert listed() == ["dog-1@1", "dog-2@1", "cat@1", "dog-1@2", "fox@1"]
    assert listed("dog-*") == ["dog-1@1", "dog-2@1", "dog-1@2"]
    assert listed("dog-1") == ["dog-1@1", "dog-1@2"]
    assert listed("[cf]?[tx]") == ["cat@1", "fox@1"]
    assert listed("DOG-*") == listed("nobody") == []
    assert listed(base="sd14") == ["fox@1"]
    assert listed("dog*", base="b" * 8) == ["dog-1@1", "dog-2@1", "dog-1@2"]
    assert listed(tag="pets") == ["cat@1"]
    cat = catalog.version("cat")
    assert cat.tags == ("Pets",)
    assert listed(since=cat.added) == ["cat@1", "dog-1@2", "fox@1"]
    zone = cat.added.astimezone().replace(tzinfo=None)
    assert listed(since=zone) == ["cat@1", "dog-1@2", "fox@1"]
    assert listed(since=datetime.now(UTC) + timedelta(hours=1)) == []
    with pytest.raises(NotFound):
        catalog.versions(base="sd99")
    assert [(one.name, one.versions, one.latest) for one in catalog.models()] == [
        ("cat", 1, 1),
        ("dog-1", 2, 2),
        ("dog-2", 1, 1),
        ("fox", 1, 1),
    ]


def test_find_version_for_a_second_add(catalog: Catalog, add: Add) -> None:
    first = add("a", "c")
    second = add("b", "c", container="9" * 64)
    args = ("c" * 64, BASE, '{"tau":0.5}')
    assert catalog.find_version(*args) == second
    assert catalog.find_version(*args, model="a") == first
    assert catalog.find_version(*args, model="zebra") is None
    assert catalog.find_version("c" * 64, BASE, '{"tau":0.2}') is None
    assert catalog.find_version("c" * 64, "d" * 64, '{"tau":0.5}') is None
    catalog.remove_version("b", 1)
    assert catalog.find_version(*args) == first


def test_texts_that_no_database_holds(catalog: Catalog) -> None:
    for call in (catalog.base, catalog.version, catalog.versions):
        with pytest.raises((InvalidArgument, NotFound)):
            call("\udcff")


def test_fingerprints(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"file-\xff")
    path.write_bytes(b"abc")
    state = FileState.of(path)
    assert catalog.cached_fingerprint(state) is None
    catalog.remember_fingerprint(state, CachedFingerprint("a" * 64, None))
    catalog.remember_fingerprint(state, CachedFingerprint("a" * 64, '{"weights":"x"}'))
    kept = catalog.cached_fingerprint(FileState.of(path))
    assert kept == CachedFingerprint("a" * 64, '{"weights":"x"}')
    os.utime(path, ns=(0, state.mtime_ns + 1))
    assert catalog.cached_fingerprint(FileState.of(path)) is None
    for change in ({"size": 4}, {"inode": 2**64 - 1}, {"path": tmp_path}):
        other = FileState(**{**vars(state), **change})
        assert catalog.cached_fingerprint(other) is None
        catalog.remember_fingerprint(other, CachedFingerprint("b" * 64, None))
        assert catalog.cached_fingerprint(other) == CachedFingerprint("b" * 64, None)
