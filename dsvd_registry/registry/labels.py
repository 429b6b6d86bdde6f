"""The labels of a version, its note and its tags: checked before the long work, then set."""

from __future__ import annotations

from collections.abc import Iterable

from ..catalog import VersionRecord
from ..errors import Conflict, InvalidArgument
from ..store import names
from ..store.event_fields import MAX_TEXT
from .repository import Repository


def checked_labels(tags: Iterable[str], note: str) -> tuple[str, ...]:
    """The tags without repeats. Raises `InvalidArgument`, `Conflict` if two differ in case alone."""
    if len(note) > MAX_TEXT:
        raise InvalidArgument(f"the note has {len(note)} characters, more than {MAX_TEXT}")
    found = {names.check_name("tag", tag): names.folded(tag) for tag in tags}
    if len(set(found.values())) < len(found):
        raise Conflict("two of the tags differ in case alone", "Give one of them.")
    return tuple(found)


def labelled(
    version: VersionRecord, note: str, tags: Iterable[str], repository: Repository
) -> VersionRecord:
    """Set the labels of a version; an empty note keeps the present one. Gives the changed record."""
    if note and note != version.note:
        version = repository.catalog.set_note(version.model, version.number, note)
    for tag in tags:
        version = repository.catalog.add_tag(version.model, version.number, tag)
    return version
