"""Texts compared by their bytes, keys short enough for PostgreSQL, and the first event of the log.

The tables are emptied: the next catching up makes their rows from the event log.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

REPLACED = ("digests", "archived_files", "file_fingerprints", "log_position")
EMPTIED = (
    "attachments",
    "metadata",
    "signatures",
    "tags",
    "aliases",
    "versions",
    "models",
    "bases",
)
BY_BYTES = """
    SELECT table_name, column_name, character_maximum_length FROM information_schema.columns
    WHERE table_schema = current_schema() AND data_type IN ('character varying', 'text')
    AND table_name <> 'alembic_version'
"""


def upgrade() -> None:
    for table in REPLACED:
        op.drop_table(table)
    for table in EMPTIED:
        op.execute(f"DELETE FROM {table}")
    op.create_table(
        "archived_files",
        sa.Column("path_sha256", sa.String(length=64), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Integer(), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("added", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_archived_files_version_id")
        ),
        sa.PrimaryKeyConstraint("path_sha256", name=op.f("pk_archived_files")),
    )
    op.create_index(op.f("ix_archived_files_version_id"), "archived_files", ["version_id"])
    op.create_table(
        "digests",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("part", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_digests_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "place", name=op.f("pk_digests")),
    )
    op.create_index(op.f("ix_digests_digest"), "digests", ["digest"])
    op.create_table(
        "file_fingerprints",
        sa.Column("path_sha256", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("inode", sa.String(length=40), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("content", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("path_sha256", name=op.f("pk_file_fingerprints")),
    )
    op.create_table(
        "log_position",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("first", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_log_position_one_row")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_position")),
    )
    op.execute("INSERT INTO log_position (id, position, sha256, first) VALUES (1, 0, '', '')")
    if op.get_bind().dialect.name == "postgresql":
        # SQLite does so by itself. A later migration says it of each text that it adds.
        for table, column, length in op.get_bind().execute(sa.text(BY_BYTES)).fetchall():
            kind = "text" if length is None else f"varchar({length})"
            op.execute(f'ALTER TABLE {table} ALTER COLUMN {column} TYPE {kind} COLLATE "C"')


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
