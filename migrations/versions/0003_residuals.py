"""Residuals of versions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("versions", sa.Column("residual", sa.String(length=64), nullable=True))
    op.add_column("versions", sa.Column("residual_size", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
