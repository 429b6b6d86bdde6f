"""The tables as typed models, which alembic compares with the migrations. Nothing else imports this
module, because its import takes longer than most commands.

All tables except the two caches are a view of the event log, made by `replay` alone.

Row ids count up in the order of the changes that made the rows, so that a rebuilt catalog is equal to
the lost one, row by row.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, CheckConstraint, ForeignKey, Index, MetaData, String, Text
from sqlalchemy import UniqueConstraint as Unique
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine


def _text(length: int) -> TypeEngine[str]:
    """A text that every database compares and sorts by its bytes, as SQLite does."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


NAME = _text(128)
DIGEST = _text(64)
TIME = _text(27)
WORD = _text(32)
TEXT = Text().with_variant(Text(collation="C"), "postgresql")


class Table(DeclarativeBase):
    """The base of all tables. Constraints have names, so that a migration can change them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class BaseRow(Table):
    """A base. `folded` is the name in lower case, in which names must differ."""

    __tablename__ = "bases"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(NAME, unique=True)
    folded: Mapped[str] = mapped_column(NAME, unique=True)
    digest: Mapped[str] = mapped_column(DIGEST, unique=True)
    manifest: Mapped[str] = mapped_column(DIGEST)
    file: Mapped[str] = mapped_column(DIGEST)
    size: Mapped[int] = mapped_column(BigInteger)
    format: Mapped[str] = mapped_column(WORD)
    link: Mapped[str | None] = mapped_column(TEXT)
    added: Mapped[str] = mapped_column(TIME)


class ModelRow(Table):
    """A model. `last_number` only grows; `latest` is the newest version that is not removed."""

    __tablename__ = "models"

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(NAME, unique=True)
    folded: Mapped[str] = mapped_column(NAME, unique=True)
    last_number: Mapped[int]
    latest: Mapped[int | None]


class VersionRow(Table):
    """A version, kept after its removal for `log`. `base` is a weights digest; `residual` and
    `original` are objects."""

    __tablename__ = "versions"
    __table_args__ = (
        Unique("model_id", "number"),
        Index(None, "base"),
        Index(None, "source_sha256"),
        Index(None, "added"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"))
    number: Mapped[int]
    container: Mapped[str] = mapped_column(DIGEST)
    size: Mapped[int] = mapped_column(BigInteger)
    base: Mapped[str] = mapped_column(DIGEST)
    source_format: Mapped[str] = mapped_column(WORD)
    source_sha256: Mapped[str] = mapped_column(DIGEST)
    source_size: Mapped[int] = mapped_column(BigInteger)
    settings: Mapped[str] = mapped_column(TEXT)
    summary: Mapped[str] = mapped_column(TEXT)
    note: Mapped[str] = mapped_column(TEXT)
    added: Mapped[str] = mapped_column(TIME)
    removed: Mapped[str | None] = mapped_column(TIME)
    residual: Mapped[str | None] = mapped_column(DIGEST)
    residual_size: Mapped[int | None] = mapped_column(BigInteger)
    original: Mapped[str | None] = mapped_column(DIGEST)


class AliasRow(Table):
    """A movable name for a version of its model."""

    __tablename__ = "aliases"
    __table_args__ = (Index(None, "version_id"),)

    model_id: Mapped[int] = mapped_column(ForeignKey("models.id"), primary_key=True)
    folded: Mapped[str] = mapped_column(NAME, primary_key=True)
    name: Mapped[str] = mapped_column(NAME)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))


class TagRow(Table):
    """A tag of a version."""

    __tablename__ = "tags"
    __table_args__ = (Index(None, "folded"),)

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    folded: Mapped[str] = mapped_column(NAME, primary_key=True)
    name: Mapped[str] = mapped_column(NAME)


class MetadataRow(Table):
    """An entry of a version's metadata: a key, in `name`, and its value."""

    __tablename__ = "metadata"
    __table_args__ = (Index(None, "name"),)

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    name: Mapped[str] = mapped_column(NAME, primary_key=True)
    value: Mapped[str] = mapped_column(TEXT)


class AttachmentRow(Table):
    """An attachment of a version, an object; `id` is the event that added it."""

    __tablename__ = "attachments"
    __table_args__ = (Index(None, "object"),)

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    folded: Mapped[str] = mapped_column(NAME, primary_key=True)
    id: Mapped[int]
    name: Mapped[str] = mapped_column(NAME)
    role: Mapped[str] = mapped_column(WORD)
    media_type: Mapped[str] = mapped_column(WORD)
    object: Mapped[str] = mapped_column(DIGEST)
    size: Mapped[int] = mapped_column(BigInteger)
    added: Mapped[str] = mapped_column(TIME)


class SignatureRow(Table):
    """A signature of a version, an object; `signer` is the SHA-256 of a public key."""

    __tablename__ = "signatures"

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    signer: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    signature: Mapped[str] = mapped_column(DIGEST)
    added: Mapped[str] = mapped_column(TIME)


class ArchivedFileRow(Table):
    """A file outside that was deleted, or replaced by a link, because a version gives it back.

    Its key is the SHA-256 of its path, because PostgreSQL takes no long text for one.
    """

    __tablename__ = "archived_files"
    __table_args__ = (Index(None, "version_id"),)

    path_sha256: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    path: Mapped[str] = mapped_column(TEXT)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    mode: Mapped[int]
    link: Mapped[str | None] = mapped_column(TEXT)
    added: Mapped[str] = mapped_column(TIME)


class DigestRow(Table):
    """A digest of a version's source or result: of one of its files, or of the only one (path "").

    `place`: counts the digests of a version.
    """

    __tablename__ = "digests"
    __table_args__ = (Index(None, "digest"),)

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    place: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    part: Mapped[str] = mapped_column(WORD)
    path: Mapped[str] = mapped_column(TEXT)
    kind: Mapped[str] = mapped_column(WORD)
    digest: Mapped[str] = mapped_column(DIGEST)


class FingerprintRow(Table):
    """A cache that no event records: the digest of a file with this size, time and inode."""

    __tablename__ = "file_fingerprints"

    path_sha256: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    mtime_ns: Mapped[int] = mapped_column(BigInteger)
    # Text, because some filesystems have unsigned 64-bit inodes, which SQLite cannot store.
    inode: Mapped[str] = mapped_column(_text(40))
    sha256: Mapped[str] = mapped_column(DIGEST)
    content: Mapped[str | None] = mapped_column(TEXT)


class ResultListingRow(Table):
    """A cache that no event records: the files of the full checkpoint that an object gives in a form."""

    __tablename__ = "result_listings"

    object: Mapped[str] = mapped_column(DIGEST, primary_key=True)
    form: Mapped[str] = mapped_column(_text(256), primary_key=True)
    listing: Mapped[str] = mapped_column(TEXT)


class PositionRow(Table):
    """One row: the last event that the catalog shows, and in `first` the SHA-256 of the first one."""

    __tablename__ = "log_position"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    position: Mapped[int]
    sha256: Mapped[str] = mapped_column(DIGEST)
    first: Mapped[str] = mapped_column(DIGEST)
