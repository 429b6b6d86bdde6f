"""The store: immutable objects named by their SHA-256, and the event log."""

from __future__ import annotations

from .event_log import EventLog
from .events import (
    AliasRemoved,
    AliasSet,
    BaseAdded,
    BaseRemoved,
    Event,
    FileArchived,
    FileRestored,
    NoteSet,
    OriginalAdded,
    OriginalRemoved,
    ResidualAdded,
    ResidualRemoved,
    SignatureAdded,
    TagAdded,
    TagRemoved,
    VersionAdded,
    VersionRemoved,
)
from .objects import ListedObject, ObjectStore, ObjectWriter, StoredObject
from .registry_folder import RegistryFolder

__all__ = [
    "AliasRemoved",
    "AliasSet",
    "BaseAdded",
    "BaseRemoved",
    "Event",
    "EventLog",
    "FileArchived",
    "FileRestored",
    "ListedObject",
    "NoteSet",
    "ObjectStore",
    "ObjectWriter",
    "OriginalAdded",
    "OriginalRemoved",
    "RegistryFolder",
    "ResidualAdded",
    "ResidualRemoved",
    "SignatureAdded",
    "StoredObject",
    "TagAdded",
    "TagRemoved",
    "VersionAdded",
    "VersionRemoved",
]
