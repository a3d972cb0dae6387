"""Operating points of groups: a prediction, and an image after a re-triage, name the group whose point applied."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

_TABLES = ("image", "prediction")


def upgrade() -> None:
    """Add a column to both tables. Existing rows follow the general point."""
    for table in _TABLES:
        op.add_column(table, sa.Column("point_group", sa.String(length=40), nullable=True))


def downgrade() -> None:
    """Remove the columns. The points of groups stay in the settings of the site, which earlier versions do not read."""
    for table in _TABLES:
        op.drop_column(table, "point_group")
