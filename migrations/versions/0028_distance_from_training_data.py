"""Add how far an image is from the training data to predictions, images and shadow predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None

TABLES = ("prediction", "image", "shadow_prediction")


def upgrade() -> None:
    """Earlier models do not say it, so the columns stay null."""
    for table in TABLES:
        op.add_column(table, sa.Column("distance", sa.Double(), nullable=True))


def downgrade() -> None:
    """Remove the columns."""
    for table in TABLES:
        op.drop_column(table, "distance")
