"""Add the images that an upgrade scores again, and how far it has come."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create two empty tables. Existing rows are not touched."""
    op.create_table(
        "rescore",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("prediction_id", KEY, nullable=False),
        sa.Column("reason_code", sa.String(length=40), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_by_id", KEY, nullable=True),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_rescore_image_id"),
        sa.ForeignKeyConstraint(["prediction_id"], ["prediction.id"], name="fk_rescore_prediction_id"),
        sa.ForeignKeyConstraint(["seen_by_id"], ["user.id"], name="fk_rescore_seen_by_id"),
        sa.PrimaryKeyConstraint("id", name="pk_rescore"),
    )
    unseen = sa.text("seen_at IS NULL")
    op.create_index("ix_rescore_unseen", "rescore", ["id"], sqlite_where=unseen, postgresql_where=unseen)
    op.create_index("ix_rescore_image_id", "rescore", ["image_id"])
    op.create_table(
        "recheck",
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("preprocessing", sa.String(length=20), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_recheck_model_id"),
        sa.PrimaryKeyConstraint("model_id", "preprocessing", name="pk_recheck"),
    )


def downgrade() -> None:
    """Remove the tables."""
    op.drop_table("recheck")
    op.drop_table("rescore")
