"""Which model bundles each machine has, and what a candidate scores in the background."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create three empty tables. Existing rows are not touched."""
    op.create_table(
        "bundle",
        sa.Column("id", KEY, nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("folder", sa.Text(), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("card", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_bundle"),
    )
    op.create_index("ix_bundle_host", "bundle", ["host"])
    op.create_table(
        "shadow_prediction",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("outcome", sa.String(length=40), nullable=False),
        sa.Column("p_normal", sa.Double(), nullable=True),
        sa.Column("p_bacterial", sa.Double(), nullable=True),
        sa.Column("p_viral", sa.Double(), nullable=True),
        sa.Column("p_pneumonia", sa.Double(), nullable=True),
        sa.Column("cropped", sa.Boolean(), nullable=False),
        sa.Column("population", sa.String(length=10), nullable=True),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_shadow_prediction_image_id"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_shadow_prediction_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_shadow_prediction"),
        sa.UniqueConstraint("model_id", "image_id", name="uq_shadow_prediction_model_id_image_id"),
    )
    op.create_table(
        "shadow_work",
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("busy_until", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_shadow_work_model_id"),
        sa.PrimaryKeyConstraint("model_id", name="pk_shadow_work"),
    )


def downgrade() -> None:
    """Remove the tables. The changes of the active model stay in the settings of the site and in the trail."""
    op.drop_table("shadow_work")
    op.drop_table("shadow_prediction")
    op.drop_table("bundle")
