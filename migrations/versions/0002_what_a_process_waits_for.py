"""What a process waits for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add it to the signs of life."""
    op.add_column("process", sa.Column("trouble", sa.Text(), nullable=True))


def downgrade() -> None:
    """Forget it."""
    op.drop_column("process", "trouble")
