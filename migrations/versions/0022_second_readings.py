"""An index of second readings, so that agreement is counted from the latest ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

SECOND_READING = sa.text("stage = 'second'")


def upgrade() -> None:
    """Create the index. It has no row of a site with one reader."""
    op.create_index(
        "ix_review_second", "review", ["id"], sqlite_where=SECOND_READING, postgresql_where=SECOND_READING
    )


def downgrade() -> None:
    """Drop the index."""
    op.drop_index("ix_review_second", table_name="review")
