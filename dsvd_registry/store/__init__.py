"""The store: immutable objects named by their SHA-256, and the event log."""

from __future__ import annotations

from .event_log import START, EventLog, Position
from .events import (
    AliasRemoved,
    AliasSet,
    AttachmentAdded,
    AttachmentRemoved,
    BaseAdded,
    BaseRemoved,
    Change,
    Event,
    FileArchived,
    FileRestored,
    MetadataRemoved,
    MetadataSet,
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
    "START",
    "AliasRemoved",
    "AliasSet",
    "AttachmentAdded",
    "AttachmentRemoved",
    "BaseAdded",
    "BaseRemoved",
    "Change",
    "Event",
    "EventLog",
    "FileArchived",
    "FileRestored",
    "ListedObject",
    "MetadataRemoved",
    "MetadataSet",
    "NoteSet",
    "ObjectStore",
    "ObjectWriter",
    "OriginalAdded",
    "OriginalRemoved",
    "Position",
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
