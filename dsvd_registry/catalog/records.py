"""What the catalog returns: plain frozen values that outlive its transactions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from .. import fs
from ..hashing import Source as Source


@dataclass(frozen=True)
class BaseRecord:
    """A base. `link` is where its file lies when it is not an object of the store."""

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
        """Whether it is a folder, of which `file` is the listing, and not a single file."""
        return self.format == "diffusers"


@dataclass(frozen=True)
class ResidualRecord:
    """The object that makes a version lossless, and its bytes."""

    sha256: str
    size: int


@dataclass(frozen=True)
class VersionRecord:
    """A version. `base` is a weights digest; `base_name` is None once that base was removed.

    `aliases` has "latest" first, where it stands here. `removed` is set in a model's history only.
    Without a `residual` it is lossy: what its container alone gives.
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

    @property
    def stored_size(self) -> int:
        """Bytes of its objects, signatures apart."""
        return sum(self.objects.values())

    @property
    def objects(self) -> Mapping[str, int]:
        """The sizes of the objects that it is made of, signatures and base apart, by SHA-256."""
        residual = {self.residual.sha256: self.residual.size} if self.residual else {}
        return {self.container: self.size, **residual}

    @property
    def ref(self) -> str:
        """The ref that always means this version."""
        return f"{self.model}@{self.number}"


@dataclass(frozen=True)
class SignatureRecord:
    """A signature of a version, as it was taken in: nothing here says that it is valid.

    `signer` is the SHA-256 of a public key; `signature` names an object.
    """

    model: str
    number: int
    signer: str
    signature: str
    added: datetime


@dataclass(frozen=True)
class ModelRecord:
    """A model; `latest` is None when all its versions were removed."""

    name: str
    versions: int
    last_number: int
    latest: int | None


@dataclass(frozen=True)
class FileState:
    """What tells a changed file from an unchanged one without reading it."""

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
    """What a file held: its SHA-256, and whatever JSON text the caller keeps with it."""

    sha256: str
    content: str | None


@dataclass(frozen=True)
class Rebuilt:
    """What a rebuild found. `set_aside` is where the former database is, if it could not be read
    or showed more than the log has.
    """

    events: int
    bases: int
    models: int
    versions: int
    aliases: int
    set_aside: Path | None
