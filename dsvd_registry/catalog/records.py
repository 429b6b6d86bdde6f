"""The records that the catalog returns: frozen values that stay valid after its transactions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .. import fs
from ..hashing import Source as Source
from ..store import StoredObject


@dataclass(frozen=True)
class BaseRecord:
    """A base.

    `digest`: its weights digest. `manifest`: the SHA-256 of its manifest. `file`: the SHA-256 of its
    file or listing. `size`: bytes. `link`: the path of a linked file or folder; None if the store has
    it.
    """

    name: str
    digest: str
    manifest: str
    file: str
    size: int
    format: str
    link: Path | None
    added: datetime

    @property
    def is_folder(self) -> bool:
        """True if the base is a folder of diffusers, whose listing is `file`."""
        return self.format == "diffusers"


@dataclass(frozen=True)
class ResidualRecord:
    """The residual of a version: the SHA-256 and the size in bytes of its object."""

    sha256: str
    size: int


@dataclass(frozen=True)
class VersionRecord:
    """A version.

    `container`, `size`: the SHA-256 and the bytes of its container. `base`: a weights digest;
    `base_name`: None if that base was removed. `settings`: the request as canonical JSON. `summary`:
    the figures that `ls` shows. `aliases`: "latest" is the first for the newest version. `removed`:
    the time of its removal, only in a model's history. `residual`: None for a version without one.
    `original`: the source's own bytes, an object named by the source's SHA-256; None if they are not
    kept.
    """

    model: str
    number: int
    container: str
    size: int
    base: str
    base_name: str | None
    source: Source
    settings: str
    summary: Mapping[str, int | float | str]
    note: str
    tags: tuple[str, ...]
    aliases: tuple[str, ...]
    added: datetime
    removed: datetime | None = None
    residual: ResidualRecord | None = None
    original: StoredObject | None = None

    @property
    def is_lossless(self) -> bool:
        """True if it has a residual or an original, which give its source back."""
        return self.residual is not None or self.original is not None

    @property
    def stored_size(self) -> int:
        """Bytes of its container, residual and original."""
        return sum(self.objects.values())

    @property
    def objects(self) -> Mapping[str, int]:
        """The sizes in bytes of its container, residual and original, by SHA-256."""
        others = (self.residual, self.original)
        return {self.container: self.size, **{one.sha256: one.size for one in others if one}}

    @property
    def ref(self) -> str:
        """The ref that always means this version."""
        return f"{self.model}@{self.number}"


RecordedDigests = Mapping[str, Mapping[str, Mapping[str, str]]]
"""Digests by part ("source", "result", "restored"), path ("" for the only file) and kind."""


@dataclass(frozen=True)
class FoundDigest:
    """A version that a digest, or the start of one, belongs to.

    `part`: "source", "result", "restored", "container" or "residual". `path`: the file in it, "" for
    the only one or for the listing of a folder. `kind`: as in `DIGEST_DIGITS`. `digest`: all its digits.
    """

    version: VersionRecord
    part: str
    path: str
    kind: str
    digest: str


@dataclass(frozen=True)
class SignatureRecord:
    """A recorded signature of a version, valid or not.

    `signer`: the SHA-256 of the public key. `signature`: the SHA-256 of the object.
    """

    model: str
    number: int
    signer: str
    signature: str
    added: datetime

    @property
    def ref(self) -> str:
        """The ref that always means its version."""
        return f"{self.model}@{self.number}"


@dataclass(frozen=True)
class AttachmentRecord:
    """An attachment of a version: a picture or a text that tells people of it.

    `role`: "preview", "sample", "note", "report", or "sidecar" for a file that a tool wrote beside the
    checkpoint. `media_type`: the type that its bytes were found to have. `sha256`: its object.
    """

    model: str
    number: int
    name: str
    role: str
    media_type: str
    sha256: str
    size: int
    added: datetime

    @property
    def ref(self) -> str:
        """The ref that always means its version."""
        return f"{self.model}@{self.number}"

    @property
    def is_picture(self) -> bool:
        """True for a picture, false for a text."""
        return self.media_type.startswith("image/")


@dataclass(frozen=True)
class ArchivedFile:
    """A file outside that was deleted, or replaced by a link, because a version gives it back.

    `mtime_ns`, `mode`: the times and permissions that it gets back. `link`: where the symbolic link
    leads that is in its place; None without one.
    """

    path: Path
    model: str
    number: int
    mtime_ns: int
    mode: int
    link: Path | None

    @property
    def ref(self) -> str:
        """The ref of the version that gives it back."""
        return f"{self.model}@{self.number}"


@dataclass(frozen=True)
class ModelRecord:
    """A model. `versions`: the number of live ones. `latest`: None if all versions were removed."""

    name: str
    versions: int
    last_number: int
    latest: int | None


@dataclass(frozen=True)
class FileState:
    """The state of a file by which a change is detected without reading the file."""

    path: Path
    size: int
    mtime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> FileState:
        """The state of a file now; take it before reading the file. Raises `StorageError`."""
        absolute = Path(os.path.abspath(path))  # noqa: PTH100 - also folds `..`, follows no link
        with fs.storage_errors(absolute):
            status = absolute.stat()
        return cls(absolute, status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class CachedFingerprint:
    """The SHA-256 of a file, and any JSON text that the caller stores with it."""

    sha256: str
    content: str | None


@dataclass(frozen=True)
class Rebuilt:
    """The counts of a rebuilt catalog.

    `set_aside`: the path of the former database, if it could not be read or showed more events than
    the log has; otherwise None.
    """

    events: int
    bases: int
    models: int
    versions: int
    aliases: int
    set_aside: Path | None
