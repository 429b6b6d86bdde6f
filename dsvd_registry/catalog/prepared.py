"""Additions before they are recorded: frozen values, which another process may have made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .records import AttachmentRecord, RecordedDigests, ResidualRecord, Source, VersionRecord


@dataclass(frozen=True)
class NewAttachment:
    """An attachment that is in the store, and not recorded yet; as in `AttachmentRecord`."""

    name: str
    role: str
    media_type: str
    sha256: str
    size: int


@dataclass(frozen=True)
class NewVersion:
    """The parts of a new version whose container is in the store; its number comes with the event."""

    container: str
    size: int
    base: str
    source: Source
    settings: str
    summary: Mapping[str, int | float | str]
    digests: RecordedDigests


@dataclass(frozen=True)
class PreparedVersion:
    """Everything that one addition records of a version, whose objects are in the store.

    `version`: its parts if it is new, otherwise the number of the version that gets the rest. `note`:
    as in `set_labels`. `residual`, `original`: the residual, and the SHA-256 of the source if that is
    an object; None to add none. `restored`: the digests of what a new residual gives back, by path.
    `metadata` replaces what the version has, `found_metadata` does not.
    """

    model: str
    version: NewVersion | int
    note: str = ""
    tags: tuple[str, ...] = ()
    residual: ResidualRecord | None = None
    restored: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    original: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    found_metadata: Mapping[str, str] = field(default_factory=dict)
    attachments: tuple[NewAttachment, ...] = ()

    @property
    def changes_it(self) -> bool:
        """True if a version that exists gets anything by it."""
        labels = (self.note, self.tags, self.metadata, self.found_metadata, self.attachments)
        return any(labels) or self.residual is not None or self.original is not None

    @property
    def objects(self) -> tuple[str, ...]:
        """The SHA-256 of every object that the addition names."""
        named = [one.sha256 for one in self.attachments]
        if isinstance(self.version, NewVersion):
            named.append(self.version.container)
        if self.residual is not None:
            named.append(self.residual.sha256)
        if self.original is not None:
            named.append(self.original)
        return tuple(named)


@dataclass(frozen=True)
class RecordedVersion:
    """A version after the event of its addition, and the attachments that came with it."""

    version: VersionRecord
    attachments: tuple[AttachmentRecord, ...]
