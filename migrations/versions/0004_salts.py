"""Add the salts under which the audit trail seals what a person typed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

TABLES = ("run", "user", "image", "receipt", "review")


def upgrade() -> None:
    """Add the columns. They stay empty in existing rows, so that no row is written."""
    for table in TABLES:
        op.add_column(table, sa.Column("salt", sa.String(length=32), nullable=True))


def downgrade() -> None:
    """Remove the columns."""
    for table in TABLES:
        op.drop_column(table, "salt")
