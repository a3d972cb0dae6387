"""Reading protocols: settings of the site, stages of readings, and images that are drawn to be read without a score."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
INDEXES = {
    "ix_image_queue": ["review_state", "verdict"],
    "ix_image_queue_of_run": ["run_id", "review_state", "verdict"],
}
NEW_TO_READINGS = ("stage", "leads_to", "protocol_id")


def upgrade() -> None:
    """Add the table and the columns. The indexes of the queue follow the place in it, which is the score of most images."""
    op.create_table(
        "site_setting",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(length=40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("set_by", sa.String(length=200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=True),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_site_setting"),
    )
    op.create_index("ix_site_setting_of_name", "site_setting", ["name", "id"])
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    for name in ("stage", "leads_to"):
        op.add_column("review", sa.Column(name, sa.String(length=20), nullable=True))
    op.add_column("review", sa.Column("protocol_id", sa.BigInteger(), nullable=True))
    op.add_column("image", sa.Column("drawn_rank", sa.Double(), nullable=True))
    # SQLite can add only a column that is computed when it is read, PostgreSQL only one that is stored.
    kind, how = ("DOUBLE", "VIRTUAL") if is_sqlite else ("DOUBLE PRECISION", "STORED")
    place = "coalesce(drawn_rank, p_pneumonia)"
    op.execute(f"ALTER TABLE image ADD COLUMN queue_rank {kind} GENERATED ALWAYS AS ({place}) {how}")
    _index_by("queue_rank")


def downgrade() -> None:
    """Remove them. An image that was drawn and not read, or that waits for another reader, is unread again."""
    op.execute(
        "UPDATE image SET review_state = 'unread' WHERE review_state IN ('drawn', 'read_once', 'disagreed')"
    )
    _index_by("p_pneumonia")
    op.drop_column("image", "queue_rank")
    op.drop_column("image", "drawn_rank")
    for name in NEW_TO_READINGS:
        op.drop_column("review", name)
    op.drop_index("ix_site_setting_of_name", "site_setting")
    op.drop_table("site_setting")


def _index_by(place: str) -> None:
    for name, kind in INDEXES.items():
        op.drop_index(name, "image")
        op.create_index(name, "image", [*kind, place, "id"])
