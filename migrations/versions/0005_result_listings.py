"""The cache of the files that full checkpoints have."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "result_listings",
        sa.Column("object", sa.String(length=64), nullable=False),
        sa.Column("form", sa.String(length=256), nullable=False),
        sa.Column("listing", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("object", "form", name=op.f("pk_result_listings")),
    )


def downgrade() -> None:
    raise NotImplementedError("go back to the backup copy made before the upgrade")
