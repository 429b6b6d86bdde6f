"""The events of a registry, and the changes that they are made of; the catalog is made from these alone.

An event is one commit: a list of changes, its number, and the SHA-256 of the event before it, so that
the log is a chain. Both are always valid: their construction checks every field by the rule in the
field's annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from .. import canonical
from ..errors import InvalidArgument, RegistryError
from ..hashing import xxh3
from .event_fields import (
    MAX_CHANGES,
    AbsolutePath,
    Alias,
    AttachmentRole,
    BaseFormat,
    Check,
    Digest,
    Digests,
    Entries,
    Key,
    Link,
    MediaType,
    Mode,
    Name,
    Nanoseconds,
    Number,
    Objects,
    Previous,
    Sequence,
    Settings,
    Size,
    Summary,
    Text,
    Time,
    Word,
    WriteId,
)


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """A value whose fields are checked when it is made. Raises `InvalidArgument` for a bad field."""

    def __post_init__(self) -> None:
        kind: type = type(self)
        for name, check in _checks(kind).items():
            value = getattr(self, name)
            if not check.accepts(value):
                shown = repr(value)[:80]
                raise InvalidArgument(f"{name.replace('_', ' ')}: {shown} is not {check.expected}")


@dataclass(frozen=True, kw_only=True)
class _Change(_Checked):
    """A change of the names and versions; each kind has fields of its own."""


@dataclass(frozen=True, kw_only=True)
class BaseAdded(_Change):
    """A base was added under a name; if the name existed, the base has another file from now on."""

    name: Name
    digest: Digest
    manifest: Digest
    file: Digest
    size: Size
    format: BaseFormat
    link: Link = None


@dataclass(frozen=True, kw_only=True)
class BaseRemoved(_Change):
    """A base was removed, which no live version needs."""

    name: Name


@dataclass(frozen=True, kw_only=True)
class VersionAdded(_Change):
    """A model got its next version. `base` is the weights digest of the base.

    `digests`: those of the files of "source" and "result", by path ("" for the only file) and kind.
    """

    model: Name
    number: Number
    container: Digest
    size: Size
    base: Digest
    source_format: Word
    source_sha256: Digest
    source_size: Size
    settings: Settings
    summary: Summary
    note: Text = ""
    digests: Digests = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class VersionRemoved(_Change):
    """A version was removed for good; its number is not used again."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class AliasSet(_Change):
    """An alias was made or moved."""

    model: Name
    alias: Alias
    number: Number


@dataclass(frozen=True, kw_only=True)
class AliasRemoved(_Change):
    """An alias was removed."""

    model: Name
    alias: Alias


@dataclass(frozen=True, kw_only=True)
class TagAdded(_Change):
    """A version got a tag."""

    model: Name
    number: Number
    tag: Name


@dataclass(frozen=True, kw_only=True)
class TagRemoved(_Change):
    """A version lost a tag."""

    model: Name
    number: Number
    tag: Name


@dataclass(frozen=True, kw_only=True)
class NoteSet(_Change):
    """A version's note was replaced."""

    model: Name
    number: Number
    text: Text


@dataclass(frozen=True, kw_only=True)
class MetadataSet(_Change):
    """A version got metadata: each key in `entries` has its value from then on."""

    model: Name
    number: Number
    entries: Entries


@dataclass(frozen=True, kw_only=True)
class MetadataRemoved(_Change):
    """A version lost a key of its metadata."""

    model: Name
    number: Number
    key: Key


@dataclass(frozen=True, kw_only=True)
class AttachmentAdded(_Change):
    """A version got an attachment: a picture or a text, an object of `size` bytes."""

    model: Name
    number: Number
    name: Name
    role: AttachmentRole
    media_type: MediaType
    attachment: Digest
    size: Size


@dataclass(frozen=True, kw_only=True)
class AttachmentRemoved(_Change):
    """A version lost an attachment."""

    model: Name
    number: Number
    name: Name


@dataclass(frozen=True, kw_only=True)
class SignatureAdded(_Change):
    """A version got a signature, an object, which replaces an earlier one by the same key.

    `signer` is the SHA-256 of the public key as OpenSSH writes it.
    """

    model: Name
    number: Number
    signer: Digest
    signature: Digest


@dataclass(frozen=True, kw_only=True)
class ResidualAdded(_Change):
    """A version got a residual, an object of `size` bytes, and is lossless from then on.

    `digests`: those of the files that come back ("restored"), where these are not the source.
    """

    model: Name
    number: Number
    residual: Digest
    size: Size
    digests: Digests = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ResidualRemoved(_Change):
    """A version lost its residual, and is lossy from then on."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class OriginalAdded(_Change):
    """A version got its original: from then on the object of its source's SHA-256 belongs to it."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class OriginalRemoved(_Change):
    """A version lost its original."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class FileArchived(_Change):
    """A file outside may be deleted from then on, because a version gives it back.

    `mtime_ns`, `mode`: its modification time and permissions. `link`: where the symbolic link leads
    that takes its place; None for no link.
    """

    path: AbsolutePath
    model: Name
    number: Number
    mtime_ns: Nanoseconds
    mode: Mode
    link: Link


@dataclass(frozen=True, kw_only=True)
class FileRestored(_Change):
    """An archived file is outside again, at its path or at another."""

    path: AbsolutePath


@dataclass(frozen=True, kw_only=True)
class ObjectsCondemned(_Change):
    """Objects that garbage collection is about to delete, but for those that come to be needed."""

    objects: Objects


Change = (
    BaseAdded
    | BaseRemoved
    | VersionAdded
    | VersionRemoved
    | AliasSet
    | AliasRemoved
    | TagAdded
    | TagRemoved
    | NoteSet
    | MetadataSet
    | MetadataRemoved
    | AttachmentAdded
    | AttachmentRemoved
    | SignatureAdded
    | ResidualAdded
    | ResidualRemoved
    | OriginalAdded
    | OriginalRemoved
    | FileArchived
    | FileRestored
    | ObjectsCondemned
)
"""Every kind of change. When a new kind is added here, mypy reports each `match` that lacks it."""

KINDS: dict[str, type[Change]] = {
    "base-added": BaseAdded,
    "base-removed": BaseRemoved,
    "version-added": VersionAdded,
    "version-removed": VersionRemoved,
    "alias-set": AliasSet,
    "alias-removed": AliasRemoved,
    "tag-added": TagAdded,
    "tag-removed": TagRemoved,
    "note-set": NoteSet,
    "metadata-set": MetadataSet,
    "metadata-removed": MetadataRemoved,
    "attachment-added": AttachmentAdded,
    "attachment-removed": AttachmentRemoved,
    "signature-added": SignatureAdded,
    "residual-added": ResidualAdded,
    "residual-removed": ResidualRemoved,
    "original-added": OriginalAdded,
    "original-removed": OriginalRemoved,
    "file-archived": FileArchived,
    "file-restored": FileRestored,
    "objects-condemned": ObjectsCondemned,
}
_WORDS = {kind: word for word, kind in KINDS.items()}


@dataclass(frozen=True, kw_only=True)
class Event(_Checked):
    """A commit: all of its changes happened, in their order, or none.

    `previous`: the SHA-256 of the event before; None for the first. `write_id`: drawn by the writer, so
    that it knows its own event again where it was not told that the write succeeded.
    """

    sequence: Sequence
    time: Time
    previous: Previous
    write_id: WriteId
    changes: tuple[Change, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.previous is None) != (self.sequence == 1):
            raise InvalidArgument("previous: the first event has none, and every other has one")
        if not 1 <= len(self.changes) <= MAX_CHANGES:
            raise InvalidArgument(f"changes: {len(self.changes)} are not 1 to {MAX_CHANGES}")


def encode(event: Event) -> bytes:
    """The canonical JSON of an event, with the checksum of the rest as its last field.

    Raises `InvalidArgument` if that is over the limit of its size.
    """
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    body = canonical.encode_small({**fields, "changes": list(map(_fields, event.changes))})
    return body[:-1] + _CHECKSUM % xxh3(body).encode()


def _fields(change: Change) -> dict[str, object]:
    fields = {field.name: getattr(change, field.name) for field in dataclasses.fields(change)}
    return {"kind": _WORDS[type(change)], **fields}


class EventRoom:
    """The room for changes in one event: how many there are, and what they weigh as JSON."""

    def __init__(self) -> None:
        self._changes = self._bytes = self._values = 0
        self._is_wide = False

    def take(self, changes: Iterable[Change]) -> bool:
        """Take room for all of these changes; gives False, and takes none, if they do not fit."""
        texts = [canonical.encode(_fields(change)) for change in changes]
        count, size = self._changes + len(texts), self._bytes + sum(map(len, texts)) + len(texts)
        values = self._values + sum(map(canonical.values_in, texts))
        is_wide = self._is_wide or any(map(canonical.is_wide, texts))
        if count > MAX_CHANGES or canonical.weight_of(size, values, is_wide) > _MAX_CHANGES_WEIGHT:
            return False
        self._changes, self._bytes, self._values, self._is_wide = count, size, values, is_wide
        return True


_MAX_CHANGES_WEIGHT = canonical.MAX_WEIGHT - 8192  # the rest is for the other fields of the event

_CHECKSUM = b',"xxh3":"%s"}'
_CHECKSUM_SIZE = len(_CHECKSUM % bytes(16))


def is_whole(data: bytes) -> bool:
    """True if the bytes of an event have their checksum, which finds damage and names nothing."""
    return data[-_CHECKSUM_SIZE:] == _CHECKSUM % xxh3(_body(data)).encode()


def _body(data: bytes) -> bytes:
    return data[:-_CHECKSUM_SIZE] + b"}"


def decode(data: bytes, where: str) -> Event:
    """The event of canonical JSON; `where` names it in errors.

    Raises `RegistryError` for bytes that `encode` does not write. For an unknown kind or field, the
    message says that a newer version of the program made the event.
    """
    if not is_whole(data):
        raise RegistryError(f"{where} is damaged: its bytes do not have their checksum", _RESTORE)
    value = canonical.decode_small(_body(data), where)
    if not isinstance(value, dict) or not isinstance(value.get("changes"), list):
        raise RegistryError(f"{where} is not an event", _RESTORE)
    changes = tuple(_change(change, where) for change in value.pop("changes"))
    return _made(Event, {**value, "changes": changes}, where, "an event")


def _change(value: object, where: str) -> Change:
    if not isinstance(value, dict):
        raise RegistryError(f"{where} is not an event", _RESTORE)
    word = value.pop("kind", None)
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise _from_the_future(where, f"a change of kind {word!r}")
    return _made(kind, value, where, str(word))


_Made = TypeVar("_Made", bound=_Checked)


def _made(kind: type[_Made], fields: dict[str, object], where: str, what: str) -> _Made:
    its_type: type = kind
    known = _names(its_type)
    if unknown := sorted(fields.keys() - known):
        raise _from_the_future(where, f"the field {unknown[0]!r} in {what}")
    if missing := sorted(known - fields.keys()):
        raise RegistryError(f"{where} lacks the field {missing[0]!r}", _RESTORE)
    try:
        return kind(**fields)
    except InvalidArgument as error:
        raise RegistryError(f"{where} is damaged: {error}", _RESTORE) from error


_RESTORE = "Restore the file from a copy of the registry."


def _from_the_future(where: str, what: str) -> RegistryError:
    return RegistryError(
        f"{where} has {what}, unknown here: it was made by a newer version of dsvd-registry",
        "Install a newer dsvd-registry.",
    )


@functools.cache
def _names(kind: type) -> frozenset[str]:
    """The names of the fields of a kind of change, or of an event."""
    return frozenset(field.name for field in dataclasses.fields(kind))


@functools.cache  # made on first use, because reading the catalog makes no event
def _checks(kind: type) -> dict[str, Check]:
    """The checks of the fields of a kind of change, or of an event."""
    hints = typing.get_type_hints(kind, include_extras=True)
    checked = {name: hint for name, hint in hints.items() if name != "changes"}
    return {name: hint.__metadata__[0] for name, hint in checked.items()}
