"""Add studies, instances and site keys, and remove the columns of images that they replace, which nothing ever filled."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
# The columns of the table `image`, which were meant for this and stayed empty.
UNUSED: tuple[tuple[str, sa.types.TypeEngine[Any]], ...] = (
    ("study_uid", sa.String(length=64)),
    ("patient_key", sa.String(length=64)),
    ("age_years", sa.Double()),
    ("sex", sa.String(length=1)),
    ("view", sa.String(length=20)),
)


def upgrade() -> None:
    """Create empty tables and remove empty columns."""
    op.create_table(
        "study",
        sa.Column("id", KEY, nullable=False),
        sa.Column("study_uid", sa.String(length=64), nullable=True),
        sa.Column("accession", sa.String(length=16), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("age_years", sa.Double(), nullable=True),
        sa.Column("age_source", sa.String(length=20), nullable=True),
        sa.Column("sex", sa.String(length=1), nullable=True),
        sa.Column("salt", sa.String(length=32), nullable=True),
        sa.Column("added_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study"),
    )
    op.create_index("ix_study_study_uid", "study", ["study_uid"])
    op.create_index("ix_study_patient_key", "study", ["patient_key"])
    op.create_table(
        "instance",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("study_id", KEY, nullable=True),
        sa.Column("series_uid", sa.String(length=64), nullable=True),
        sa.Column("instance_uid", sa.String(length=64), nullable=True),
        sa.Column("view", sa.String(length=20), nullable=True),
        sa.Column("laterality", sa.String(length=1), nullable=True),
        sa.Column("manufacturer", sa.String(length=64), nullable=True),
        sa.Column("station_class", sa.String(length=20), nullable=True),
        sa.Column("salt", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_instance_image_id"),
        sa.ForeignKeyConstraint(["study_id"], ["study.id"], name="fk_instance_study_id"),
        sa.PrimaryKeyConstraint("id", name="pk_instance"),
        sa.UniqueConstraint("image_id", name="uq_instance_image_id"),
    )
    op.create_index("ix_instance_study_id", "instance", ["study_id"])
    op.create_table(
        "site_key",
        sa.Column("id", KEY, nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_site_key"),
    )
    op.drop_index("ix_image_patient_key", "image")
    for name, _ in UNUSED:
        op.drop_column("image", name)


def downgrade() -> None:
    """Remove the tables with what is known of images, and add the empty columns."""
    for name, kind in UNUSED:
        op.add_column("image", sa.Column(name, kind, nullable=True))
    op.create_index("ix_image_patient_key", "image", ["patient_key"])
    op.drop_table("site_key")
    op.drop_table("instance")
    op.drop_table("study")
