from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from dsvd_registry.catalog import Catalog
from dsvd_registry.errors import InvalidArgument
from dsvd_registry.store import START, EventLog, RegistryFolder, VersionAdded
from dsvd_registry.store.event_fields import MAX_DIGESTED

from .conftest import fill

Add = Callable[..., Any]


def found(catalog: Catalog, start: str) -> list[tuple[str, str, str, str]]:
    matches = catalog.find_digest(start)
    assert all(match.digest.startswith(start) for match in matches)
    return [(match.version.ref, match.part, match.path, match.kind) for match in matches]


def test_digests_of_live_versions_are_found_by_their_beginning(catalog: Catalog) -> None:
    fill(catalog)
    first = [("a@1", "source", "", "sha256")]
    assert found(catalog, "c" * 64) == [("a@1", "container", "", "sha256"), *first]
    assert found(catalog, "c" * 8) == [
        ("a@1", "container", "", "sha256"),
        ("a@1", "source", "", "crc32"),
        *first,
    ]
    assert found(catalog, "abd") == [("b@1", "result", "unet/a.safetensors", "autov3")]
    assert [match[0] for match in found(catalog, "9" * 64)] == ["a@1", "b@1", "a@2"]
    assert found(catalog, "6" * 10) == [("a@2", "residual", "", "sha256")]
    # b@1 lost its residual, and with it what that restored; a@3 and gone@1 were removed.
    assert found(catalog, "7" * 10) == [("a@2", "restored", "", "sha256")]
    assert found(catalog, "f" * 64) == found(catalog, "0" * 8) == []
    # Nothing is a pattern, and nothing is found by what comes after a digest's end.
    assert found(catalog, "%") == found(catalog, "c" * 63 + "_") == found(catalog, "C" * 8) == []


def test_a_container_has_the_digests_of_its_results(catalog: Catalog, add: Add) -> None:
    fill(catalog)
    assert catalog.result_digests("d" * 64) == {
        "unet/a.safetensors": {"autov3": "ab" + "d" * 62},
        "b": {"sha256": "9" * 64},
    }
    add("a", "b")
    assert catalog.result_digests("b" * 64) == {}


def test_an_event_has_digests_of_no_more_files_than_it_may(
    catalog: Catalog, add: Add, registry: RegistryFolder
) -> None:
    many = {f"{number:05}": {"crc32": f"{number:08x}"} for number in range(MAX_DIGESTED + 5)}
    add("a", digests={"source": many, "result": {}})
    (change,) = [event for _, event in EventLog(registry).after(START)][-1].changes
    assert isinstance(change, VersionAdded)
    kept = dict(sorted(many.items())[:MAX_DIGESTED])
    assert change.digests == {"source": kept}
    assert len(catalog.find_digest("0000000")) == 16


@pytest.mark.parametrize(
    "digests",
    [
        {"other": {"": {"sha256": "a" * 64}}},
        {"source": {"": {"sha256": "a" * 63}}},
        {"source": {"": {"md5": "a" * 64}}},
        {"source": {"a\0b": {"sha256": "a" * 64}}},
        {"source": {"": {}}},
    ],
)
def test_a_digest_that_breaks_the_rules_is_refused(
    catalog: Catalog, add: Add, digests: Any
) -> None:
    before = catalog.position()
    with pytest.raises(InvalidArgument, match="digests"):
        add("a", digests=digests)
    assert catalog.position() == before
