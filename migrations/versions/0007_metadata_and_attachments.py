"""Metadata of versions, and attachments: pictures and texts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "metadata",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_metadata_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "name", name=op.f("pk_metadata")),
    )
    op.create_index(op.f("ix_metadata_name"), "metadata", ["name"])
    op.create_table(
        "attachments",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("folded", sa.String(length=128), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=128), nullable=False),
        sa.Column("role", sa.String(length=32), nullable=False),
        sa.Column("media_type", sa.String(length=32), nullable=False),
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("added", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_attachments_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "folded", name=op.f("pk_attachments")),
    )
    op.create_index(op.f("ix_attachments_object"), "attachments", ["object"])


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
