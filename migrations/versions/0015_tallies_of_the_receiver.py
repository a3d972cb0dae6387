"""Add the tallies of the DICOM receiver."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create an empty table. Nothing has been received yet."""
    op.create_table(
        "receiver_tally",
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", name="pk_receiver_tally"),
    )


def downgrade() -> None:
    """Remove the table."""
    op.drop_table("receiver_tally")
