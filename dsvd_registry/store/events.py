"""The events of a registry: small immutable records, from which alone the catalog is made.

An event is always valid: its construction checks every field by the rule in the field's annotation.
"""

from __future__ import annotations

import dataclasses
import functools
import typing
from dataclasses import dataclass

from .. import canonical
from ..errors import InvalidArgument, RegistryError
from .event_fields import (
    AbsolutePath,
    Alias,
    BaseFormat,
    Check,
    Digest,
    Link,
    Mode,
    Name,
    Nanoseconds,
    Number,
    Sequence,
    Settings,
    Size,
    Summary,
    Text,
    Time,
    Word,
)


@dataclass(frozen=True, kw_only=True)
class _Event:
    """The fields of every event: its number and time. Raises `InvalidArgument` for a bad field."""

    sequence: Sequence
    time: Time

    def __post_init__(self) -> None:
        for name, check in _checks()[type(self)].items():
            value = getattr(self, name)
            if not check.accepts(value):
                shown = repr(value)[:80]
                raise InvalidArgument(f"{name.replace('_', ' ')}: {shown} is not {check.expected}")


@dataclass(frozen=True, kw_only=True)
class BaseAdded(_Event):
    """A base was added under a name; if the name existed, the base has another file from now on."""

    name: Name
    digest: Digest
    manifest: Digest
    file: Digest
    size: Size
    format: BaseFormat
    link: Link = None


@dataclass(frozen=True, kw_only=True)
class BaseRemoved(_Event):
    """A base was removed, which no live version needs."""

    name: Name


@dataclass(frozen=True, kw_only=True)
class VersionAdded(_Event):
    """A model got its next version. `base` is the weights digest of the base."""

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


@dataclass(frozen=True, kw_only=True)
class VersionRemoved(_Event):
    """A version was removed for good; its number is not used again."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class AliasSet(_Event):
    """An alias was made or moved."""

    model: Name
    alias: Alias
    number: Number


@dataclass(frozen=True, kw_only=True)
class AliasRemoved(_Event):
    """An alias was removed."""

    model: Name
    alias: Alias


@dataclass(frozen=True, kw_only=True)
class TagAdded(_Event):
    """A version got a tag."""

    model: Name
    number: Number
    tag: Name


@dataclass(frozen=True, kw_only=True)
class TagRemoved(_Event):
    """A version lost a tag."""

    model: Name
    number: Number
    tag: Name


@dataclass(frozen=True, kw_only=True)
class NoteSet(_Event):
    """A version's note was replaced."""

    model: Name
    number: Number
    text: Text


@dataclass(frozen=True, kw_only=True)
class SignatureAdded(_Event):
    """A version got a signature, an object, which replaces an earlier one by the same key.

    `signer` is the SHA-256 of the public key as OpenSSH writes it.
    """

    model: Name
    number: Number
    signer: Digest
    signature: Digest


@dataclass(frozen=True, kw_only=True)
class ResidualAdded(_Event):
    """A version got a residual, an object of `size` bytes, and is lossless from then on."""

    model: Name
    number: Number
    residual: Digest
    size: Size


@dataclass(frozen=True, kw_only=True)
class ResidualRemoved(_Event):
    """A version lost its residual, and is lossy from then on."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class OriginalAdded(_Event):
    """A version got its original: from then on the object of its source's SHA-256 belongs to it."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class OriginalRemoved(_Event):
    """A version lost its original."""

    model: Name
    number: Number


@dataclass(frozen=True, kw_only=True)
class FileArchived(_Event):
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
class FileRestored(_Event):
    """An archived file is outside again, at its path or at another."""

    path: AbsolutePath


Event = (
    BaseAdded
    | BaseRemoved
    | VersionAdded
    | VersionRemoved
    | AliasSet
    | AliasRemoved
    | TagAdded
    | TagRemoved
    | NoteSet
    | SignatureAdded
    | ResidualAdded
    | ResidualRemoved
    | OriginalAdded
    | OriginalRemoved
    | FileArchived
    | FileRestored
)
"""Every kind of event. When a new kind is added here, mypy reports each `match` that lacks it."""

KINDS: dict[str, type[Event]] = {
    "base-added": BaseAdded,
    "base-removed": BaseRemoved,
    "version-added": VersionAdded,
    "version-removed": VersionRemoved,
    "alias-set": AliasSet,
    "alias-removed": AliasRemoved,
    "tag-added": TagAdded,
    "tag-removed": TagRemoved,
    "note-set": NoteSet,
    "signature-added": SignatureAdded,
    "residual-added": ResidualAdded,
    "residual-removed": ResidualRemoved,
    "original-added": OriginalAdded,
    "original-removed": OriginalRemoved,
    "file-archived": FileArchived,
    "file-restored": FileRestored,
}
_WORDS = {kind: word for word, kind in KINDS.items()}


def encode(event: Event) -> bytes:
    """The canonical JSON of an event."""
    fields = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    return canonical.encode_small({"event": _WORDS[type(event)], **fields})


def decode(data: bytes, where: str) -> Event:
    """The event of canonical JSON; `where` names it in errors.

    Raises `RegistryError` for bytes that `encode` does not write. For an unknown kind or field, the
    message says that a newer version of the program made the event.
    """
    value = canonical.decode_small(data, where)
    if not isinstance(value, dict):
        raise RegistryError(f"{where} is not an event")
    word = value.pop("event", None)
    kind = KINDS.get(word) if isinstance(word, str) else None
    if kind is None:
        raise _from_the_future(where, f"an event of kind {word!r}")
    known = {field.name for field in dataclasses.fields(kind)}
    if unknown := sorted(value.keys() - known):
        raise _from_the_future(where, f"the field {unknown[0]!r} in {word}")
    if missing := sorted(known - value.keys()):
        raise RegistryError(f"{where} lacks the field {missing[0]!r}", _RESTORE)
    try:
        return kind(**value)
    except InvalidArgument as error:
        raise RegistryError(f"{where} is damaged: {error}", _RESTORE) from error


_RESTORE = "Restore the file from a copy of the registry."


def _from_the_future(where: str, what: str) -> RegistryError:
    return RegistryError(
        f"{where} has {what}, unknown here: it was made by a newer version of dsvd-registry",
        "Install a newer dsvd-registry.",
    )


@functools.cache  # made on first use, because reading the catalog makes no event
def _checks() -> dict[type, dict[str, Check]]:
    """The checks of each kind's fields."""
    hints = {kind: typing.get_type_hints(kind, include_extras=True) for kind in KINDS.values()}
    return {
        kind: {name: hint.__metadata__[0] for name, hint in fields.items()}
        for kind, fields in hints.items()
    }
