"""Add the erasures of images, and when the bytes of an image were removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create an empty table and an empty column. Existing rows are not touched."""
    op.create_table(
        "erasure",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=True),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_erasure_image_id"),
        sa.PrimaryKeyConstraint("id", name="pk_erasure"),
        sa.UniqueConstraint("image_id", name="uq_erasure_image_id"),
    )
    op.add_column("image", sa.Column("bytes_removed_at", UTC_TIME, nullable=True))


def downgrade() -> None:
    """Remove both. The images stay erased."""
    op.drop_column("image", "bytes_removed_at")
    op.drop_table("erasure")
