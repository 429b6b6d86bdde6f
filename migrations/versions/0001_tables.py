"""The tables of a catalog."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _text(length: int) -> sa.types.TypeEngine[str]:
    """A text that every database compares and sorts by its bytes, as SQLite does."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "bases",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("folded", _text(128), nullable=False),
        sa.Column("digest", _text(64), nullable=False),
        sa.Column("manifest", _text(64), nullable=False),
        sa.Column("file", _text(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("format", _text(32), nullable=False),
        sa.Column("link", TEXT, nullable=True),
        sa.Column("added", _text(27), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bases")),
        sa.UniqueConstraint("digest", name=op.f("uq_bases_digest")),
        sa.UniqueConstraint("folded", name=op.f("uq_bases_folded")),
        sa.UniqueConstraint("name", name=op.f("uq_bases_name")),
    )
    op.create_table(
        "file_fingerprints",
        sa.Column("path_sha256", _text(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", _text(40), nullable=False),
        sa.Column("sha256", _text(64), nullable=False),
        sa.Column("content", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("path_sha256", name=op.f("pk_file_fingerprints")),
    )
    op.create_table(
        "log_position",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sha256", _text(64), nullable=False),
        sa.Column("first", _text(64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_log_position_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_position")),
    )
    op.execute("INSERT INTO log_position (id, position, sha256, first) VALUES (1, 0, '', '')")
    op.create_table(
        "models",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("folded", _text(128), nullable=False),
        sa.Column("last_number", sa.Integer(), nullable=False),
        sa.Column("latest", sa.Integer(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("folded", name=op.f("uq_models_folded")),
        sa.UniqueConstraint("name", name=op.f("uq_models_name")),
    )
    op.create_table(
        "result_listings",
        sa.Column("object", _text(64), nullable=False),
        sa.Column("form", _text(256), nullable=False),
        sa.Column("listing", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("object", "form", name=op.f("pk_result_listings")),
    )
    op.create_table(
        "versions",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("container", _text(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("base", _text(64), nullable=False),
        sa.Column("source_format", _text(32), nullable=False),
        sa.Column("source_sha256", _text(64), nullable=False),
        sa.Column("source_size", sa.BigInteger(), nullable=False),
        sa.Column("settings", TEXT, nullable=False),
        sa.Column("summary", TEXT, nullable=False),
        sa.Column("note", TEXT, nullable=False),
        sa.Column("added", _text(27), nullable=False),
        sa.Column("removed", _text(27), nullable=True),
        sa.Column("residual", _text(64), nullable=True),
        sa.Column("residual_size", sa.BigInteger(), nullable=True),
        sa.Column("original", _text(64), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_versions_model_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_versions")),
        sa.UniqueConstraint("model_id", "number", name=op.f("uq_versions_model_id_number")),
    )
    op.create_index(op.f("ix_versions_added"), "versions", ["added"])
    op.create_index(op.f("ix_versions_base"), "versions", ["base"])
    op.create_index(op.f("ix_versions_source_sha256"), "versions", ["source_sha256"])
    op.create_table(
        "aliases",
        sa.Column("model_id", sa.Integer(), nullable=False),
        sa.Column("folded", _text(128), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_aliases_model_id")),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_aliases_version_id")
        ),
        sa.PrimaryKeyConstraint("model_id", "folded", name=op.f("pk_aliases")),
    )
    op.create_index(op.f("ix_aliases_version_id"), "aliases", ["version_id"])
    op.create_table(
        "archived_files",
        sa.Column("path_sha256", _text(64), nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Integer(), nullable=False),
        sa.Column("link", TEXT, nullable=True),
        sa.Column("added", _text(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_archived_files_version_id")
        ),
        sa.PrimaryKeyConstraint("path_sha256", name=op.f("pk_archived_files")),
    )
    op.create_index(op.f("ix_archived_files_version_id"), "archived_files", ["version_id"])
    op.create_table(
        "attachments",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("folded", _text(128), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("role", _text(32), nullable=False),
        sa.Column("media_type", _text(32), nullable=False),
        sa.Column("object", _text(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("added", _text(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_attachments_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "folded", name=op.f("pk_attachments")),
    )
    op.create_index(op.f("ix_attachments_object"), "attachments", ["object"])
    op.create_table(
        "digests",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part", _text(32), nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("kind", _text(32), nullable=False),
        sa.Column("digest", _text(64), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_digests_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "place", name=op.f("pk_digests")),
    )
    op.create_index(op.f("ix_digests_digest"), "digests", ["digest"])
    op.create_table(
        "metadata",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_metadata_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "name", name=op.f("pk_metadata")),
    )
    op.create_index(op.f("ix_metadata_name"), "metadata", ["name"])
    op.create_table(
        "signatures",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("signer", _text(64), nullable=False),
        sa.Column("signature", _text(64), nullable=False),
        sa.Column("added", _text(27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_signatures_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "signer", name=op.f("pk_signatures")),
    )
    op.create_table(
        "tags",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("folded", _text(128), nullable=False),
        sa.Column("name", _text(128), nullable=False),
        sa.ForeignKeyConstraint(["version_id"], ["versions.id"], name=op.f("fk_tags_version_id")),
        sa.PrimaryKeyConstraint("version_id", "folded", name=op.f("pk_tags")),
    )
    op.create_index(op.f("ix_tags_folded"), "tags", ["folded"])


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
