"""Add the part of a film that the network saw to the table of predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

SIDES = ("left", "top", "right", "bottom")


def upgrade() -> None:
    """Earlier models saw the whole film, so the columns stay null."""
    for side in SIDES:
        op.add_column("prediction", sa.Column(f"lungs_{side}", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Remove the columns."""
    for side in SIDES:
        op.drop_column("prediction", f"lungs_{side}")
