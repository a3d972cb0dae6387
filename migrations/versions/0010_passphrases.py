"""Add the hash of a person's passphrase."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Nobody has a passphrase yet."""
    op.add_column("user", sa.Column("passphrase_hash", sa.String(200), nullable=True))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("user", "passphrase_hash")
