"""Pages of versions against a plain search through all of them."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest

from dsvd_registry.catalog import Catalog, VersionRecord, Wanted
from dsvd_registry.errors import NotFound

from .conftest import BASE

OTHER = "d" * 64
WORDS = ("dog", "DOG", "100%", "a_b", "50% off", "meadow", "/", "it's", "x" * 50)


@pytest.fixture
def full(catalog: Catalog, add: Callable[..., Any], quick: None) -> Catalog:
    """Some versions of some models, with labels drawn by chance."""
    catalog.add_base(
        "sdxl", digest=OTHER, manifest="3" * 64, file="4" * 64, size=5, format="safetensors"
    )
    chosen = random.Random(5)
    for index in range(70):
        model = f"{chosen.choice(('Dog', 'meadow', 'a_b', 'axb'))}-{index % 12}"
        base, note = chosen.choice((BASE, OTHER)), chosen.choice(("", *WORDS))
        version = add(model, base=base, note=note)
        if chosen.random() < 0.4:
            catalog.add_tag(model, version.number, chosen.choice(("Style", "dog")))
        if chosen.random() < 0.2:
            catalog.set_alias(model, chosen.choice(("prod", "dog")), version.number)
        if chosen.random() < 0.3:
            entries = {"trigger": f"sks {chosen.choice(WORDS)}", "licence": "meadow"}
            catalog.set_metadata(model, version.number, entries)
        if chosen.random() < 0.1:
            catalog.remove_tag(model, version.number, version.tags[0]) if version.tags else None
    catalog.remove_version("Dog-0", 1) if catalog.versions("Dog-0") else None
    return catalog


def is_wanted(
    version: VersionRecord, wanted: Wanted, latest: Mapping[str, int], triggers: Mapping[str, str]
) -> bool:
    texts = [version.model, version.note, version.base_name or "", triggers.get(version.ref, "")]
    texts += [*version.tags, *(alias for alias in version.aliases if alias != "latest")]
    return (
        all(any(word.lower() in text.lower() for text in texts) for word in wanted.words)
        and wanted.base in (None, version.base_name)
        and (wanted.tag is None or wanted.tag.lower() in map(str.lower, version.tags))
        and (wanted.since is None or version.added >= wanted.since)
        and (not wanted.newest_only or version.number == latest[version.model])
    )


def test_pages_have_what_a_plain_search_finds_newest_first(full: Catalog) -> None:
    versions = full.versions()
    latest = {version.model: version.number for version in versions}
    triggers = {
        version.ref: found["trigger"]
        for version in versions
        if "trigger" in (found := full.metadata(version.ref))
    }
    middle: datetime = versions[len(versions) // 2].added
    searches = itertools.product(
        ((), *((word,) for word in WORDS), ("dog", "sks")),
        (None, "sdxl"),
        (None, "STYLE"),
        (None, middle),
        (True, False),
    )
    sizes = set()
    for wanted in itertools.starmap(Wanted, searches):
        expected = [v for v in reversed(versions) if is_wanted(v, wanted, latest, triggers)]
        found: list[VersionRecord] = []
        for offset in range(0, len(expected) + 8, 7):
            page = full.page(wanted, offset, 7)
            assert page.total == len(expected)
            assert dict(page.triggers) == {
                v.ref: triggers[v.ref] for v in page.versions if v.ref in triggers
            }
            found += page.versions
        assert found == expected
        sizes.add(len(expected))
    assert len(sizes) > 15  # the searches differ in what they find


def test_the_tags_of_live_versions(full: Catalog, add: Callable[..., Any]) -> None:
    gone = add("gone")
    full.add_tag("gone", gone.number, "only-here")
    assert set(full.tags()) == {"Style", "dog", "only-here"}
    full.remove_version("gone", gone.number)
    assert set(full.tags()) == {"Style", "dog"}


def test_an_unknown_base_is_said(full: Catalog) -> None:
    with pytest.raises(NotFound, match="nobody"):
        full.page(Wanted(base="nobody"), 0, 10)
