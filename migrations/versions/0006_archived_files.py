"""Files that were archived: deleted outside, because a version gives them back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "archived_files",
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("mtime_ns", sa.BigInteger(), nullable=False),
        sa.Column("mode", sa.Integer(), nullable=False),
        sa.Column("link", sa.Text(), nullable=True),
        sa.Column("added", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_archived_files_version_id")
        ),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_archived_files")),
    )
    op.create_index(op.f("ix_archived_files_version_id"), "archived_files", ["version_id"])


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
