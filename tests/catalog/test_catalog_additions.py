"""Many additions as one event: each whole or not at all, and never more than an event holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dsvd_registry import canonical
from dsvd_registry.catalog import (
    Catalog,
    NewAttachment,
    NewVersion,
    PreparedVersion,
    RecordedVersion,
    ResidualRecord,
    Source,
    rebuild,
)
from dsvd_registry.errors import DsvdError, InvalidArgument, NotFound
from dsvd_registry.store import RegistryFolder

from .conftest import BASE


def prepared(model: str, *, number: int | None = None, **fields: Any) -> PreparedVersion:
    source = Source("safetensors", "c" * 64, 100)
    new = NewVersion("c" * 64, 10, BASE, source, '{"tau":0.5}', {"tau": 0.5}, {})
    return PreparedVersion(model, new if number is None else number, **fields)


def record(catalog: Catalog, additions: list[PreparedVersion]) -> list[RecordedVersion | DsvdError]:
    return catalog.add_prepared(additions, lambda _: None)


def changes(registry: RegistryFolder, after: int = 1) -> list[list[dict[str, Any]]]:
    """The changes of each event after the first ones, read from the files."""
    paths = sorted(Path(registry.root / "events").rglob("*.json"))[after:]
    return [json.loads(path.read_bytes())["changes"] for path in paths]


def refs(outcomes: list[RecordedVersion | DsvdError]) -> list[str]:
    return [one.version.ref if isinstance(one, RecordedVersion) else type(one).__name__
            for one in outcomes]  # fmt: skip


def test_one_event_of_many_and_a_rebuild(catalog: Catalog, registry: RegistryFolder) -> None:
    """Versions of one model are numbered in their order; a version that is there gets the rest."""
    picture = NewAttachment("a.png", "preview", "image/png", "d" * 64, 7)
    first = prepared("a", note="good", tags=("x", "y"), metadata={"k": "asked"},
                     found_metadata={"k": "found", "l": "found"}, attachments=(picture,),
                     residual=ResidualRecord("e" * 64, 9), original="c" * 64)  # fmt: skip
    later = prepared("a", number=1, note="better", tags=("y", "z"), found_metadata={"l": "other"})
    outcomes = record(catalog, [first, prepared("b"), later, prepared("a")])
    assert refs(outcomes) == ["a@1", "b@1", "a@1", "a@2"]
    assert isinstance(outcomes[0], RecordedVersion)
    assert [one.name for one in outcomes[0].attachments] == ["a.png"]
    (event,) = changes(registry)
    assert [change["kind"] for change in event] == [
        "version-added", "tag-added", "tag-added", "residual-added", "original-added",
        "metadata-set", "attachment-added", "version-added", "note-set", "tag-added", "version-added",
    ]  # fmt: skip
    version = catalog.version("a@1")
    assert (version.note, version.tags, version.is_lossless) == ("better", ("x", "y", "z"), True)
    assert catalog.metadata("a@1") == {"k": "asked", "l": "found"}
    assert set(first.objects) == {"c" * 64, "d" * 64, "e" * 64}
    told = catalog.versions(), catalog.attachments(), catalog.history("a")
    catalog.close()
    rebuild(registry)
    with Catalog.open(registry) as again:
        assert (again.versions(), again.attachments(), again.history("a")) == told


def test_what_is_refused_leaves_nothing(catalog: Catalog, registry: RegistryFolder) -> None:
    """Neither rows nor changes, also of what came before its fault."""
    bad = prepared("bad", tags=("x", "X"))
    gone = prepared("a", number=7, tags=("t",))
    additions = [prepared("a"), bad, prepared("A"), gone, prepared("b", tags=("x",))]
    outcomes = record(catalog, additions)
    assert refs(outcomes) == ["a@1", "Conflict", "Conflict", "NotFound", "b@1"]
    assert [change["model"] for change in changes(registry)[0]] == ["a", "b", "b"]
    assert [model.name for model in catalog.models()] == ["a", "b"]
    assert catalog.check_log() == 2

    def confirm(one: PreparedVersion) -> None:
        if one.model == "c":
            raise NotFound("its object is gone")

    outcomes = catalog.add_prepared([prepared("c"), prepared("d")], confirm)
    assert refs(outcomes) == ["NotFound", "d@1"]
    assert refs(catalog.add_prepared([prepared("c")], confirm)) == ["NotFound"]
    assert len(changes(registry)) == 2  # no event without a change


def test_no_event_has_too_many_changes(catalog: Catalog) -> None:
    """The rest comes with the next one; what is too much for one alone is refused."""
    tagged = [prepared(f"t{n}", tags=tuple(f"tag-{m}" for m in range(400))) for n in range(3)]
    assert refs(record(catalog, tagged)) == ["t0@1", "t1@1"]
    far_too_much = prepared("no", tags=tuple(f"tag-{m}" for m in range(1000)))
    outcomes = record(catalog, [far_too_much, prepared("yes")])
    assert refs(outcomes) == ["InvalidArgument", "yes@1"]
    assert isinstance(outcomes[0], InvalidArgument) and "no room" in str(outcomes[0])


@pytest.mark.parametrize(("text", "count"), [("a", 90), ("\u00e4", 8)])
def test_no_event_is_too_heavy(
    catalog: Catalog, registry: RegistryFolder, text: str, count: int
) -> None:
    """By the weight of its JSON, narrow or wide; and each but the last is as full as can be."""
    large = {f"k{n}": text * 65_000 for n in range(3)}
    left = [prepared(f"l{n}", metadata=large) for n in range(count)]
    taken = []
    while left:
        taken.append(len(record(catalog, left)))
        left = left[taken[-1] :]
    paths = sorted((registry.root / "events").rglob("*.json"))[1:]
    weights = [canonical.weight(path.read_bytes()) for path in paths]
    assert len(weights) == len(taken) > 1 and sum(taken) == count
    assert all(weight <= canonical.MAX_WEIGHT for weight in weights)
    one = weights[0] / taken[0]
    assert all(weight + one > canonical.MAX_WEIGHT - 8192 for weight in weights[:-1])
    assert len(catalog.versions("l*")) == count and catalog.check_log() == 1 + len(taken)
