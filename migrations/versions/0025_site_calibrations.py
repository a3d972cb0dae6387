"""Recalibrations of a model's scores to this site."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create an empty table. Existing rows are not touched."""
    op.create_table(
        "site_calibration",
        sa.Column("id", KEY, nullable=False),
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("intercept", sa.Double(), nullable=False),
        sa.Column("slope", sa.Double(), nullable=False),
        sa.Column("prevalence", sa.Double(), nullable=False),
        sa.Column("cases_digest", sa.String(length=64), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_site_calibration_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_site_calibration"),
        sa.UniqueConstraint("model_id", "version", name="uq_site_calibration_model_id_version"),
    )


def downgrade() -> None:
    """Remove the table. Who put which calibration in force stays in the settings of the site and in the trail."""
    op.drop_table("site_calibration")
