"""The catalog: bases, models, versions and their labels in a database, a view of the event log."""

from __future__ import annotations

from .browse import VersionPage, Wanted
from .catalog import Catalog
from .ledger import check_database, shown_position
from .lookup import Ref
from .prepared import NewAttachment, NewVersion, PreparedVersion, RecordedVersion
from .rebuild import rebuild
from .records import (
    ArchivedFile,
    AttachmentRecord,
    BaseRecord,
    CachedFingerprint,
    FileState,
    FoundDigest,
    ModelRecord,
    Rebuilt,
    RecordedDigests,
    ResidualRecord,
    SignatureRecord,
    Source,
    VersionRecord,
)
from .whole_versions import WholeVersion

__all__ = [
    "ArchivedFile",
    "AttachmentRecord",
    "BaseRecord",
    "CachedFingerprint",
    "Catalog",
    "FileState",
    "FoundDigest",
    "ModelRecord",
    "NewAttachment",
    "NewVersion",
    "PreparedVersion",
    "Rebuilt",
    "RecordedDigests",
    "RecordedVersion",
    "Ref",
    "ResidualRecord",
    "SignatureRecord",
    "Source",
    "VersionPage",
    "VersionRecord",
    "Wanted",
    "WholeVersion",
    "check_database",
    "rebuild",
    "shown_position",
]
