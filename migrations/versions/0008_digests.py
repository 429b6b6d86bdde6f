"""Digests of sources and results, by which versions are found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "digests",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("part", sa.String(length=32), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_digests_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "part", "path", "kind", name=op.f("pk_digests")),
    )
    op.create_index(op.f("ix_digests_digest"), "digests", ["digest"])


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
