"""Add how the grey values of a DICOM object were made to the table of predictions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Earlier predictions are of JPEG and PNG files, so the column stays null."""
    op.add_column("prediction", sa.Column("greyscale", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("prediction", "greyscale")
