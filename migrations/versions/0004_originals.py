"""Originals of versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("original", sa.String(length=64), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
