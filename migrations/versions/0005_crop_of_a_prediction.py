"""Add the part of an image that was scored to the table of predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

SIDES = ("left", "top", "right", "bottom")


def upgrade() -> None:
    """Earlier predictions scored the whole image, so the columns stay null."""
    for side in SIDES:
        op.add_column("prediction", sa.Column(f"crop_{side}", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Remove the columns."""
    for side in SIDES:
        op.drop_column("prediction", f"crop_{side}")
