"""Operating points of a site: an image names the point that its verdict follows since a re-triage."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

# The prediction in force of an image that a re-triage changed.
_SCORED_WITH = (
    "SELECT prediction.verdict FROM prediction WHERE prediction.image_id = image.id "
    "AND prediction.finished_at = image.scored_at ORDER BY prediction.id DESC LIMIT 1"
)


def upgrade() -> None:
    """Add the column."""
    op.add_column("image", sa.Column("operating_point_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:
    """Give each unread image the verdict of its prediction again, and remove the column.

    Earlier versions know no other verdict. An image that a re-triage drew is unread.
    """
    retriaged = "operating_point_id IS NOT NULL AND review_state IN ('unread', 'drawn')"
    op.execute(
        f"UPDATE image SET verdict = ({_SCORED_WITH}), review_state = 'unread', drawn_rank = NULL WHERE {retriaged}"
    )
    op.drop_column("image", "operating_point_id")
