"""Signatures of versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "signatures",
        sa.Column("version_id", sa.Integer(), nullable=False),
        sa.Column("signer", sa.String(length=64), nullable=False),
        sa.Column("signature", sa.String(length=64), nullable=False),
        sa.Column("added", sa.String(length=27), nullable=False),
        sa.ForeignKeyConstraint(
            ["version_id"], ["versions.id"], name=op.f("fk_signatures_version_id")
        ),
        sa.PrimaryKeyConstraint("version_id", "signer", name=op.f("pk_signatures")),
    )


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
