"""Add to the heartbeat what a process is waiting for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("process", sa.Column("trouble", sa.Text(), nullable=True))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("process", "trouble")
