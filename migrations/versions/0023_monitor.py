"""What the monitor has counted by day and group, and how far. Both can be counted anew at any time."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables, with the mark that nothing was counted yet. The sweeper fills them."""
    op.create_table(
        "monitor_day",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("dimension", sa.String(length=20), nullable=False),
        sa.Column("group_name", sa.String(length=60), nullable=False),
        sa.Column("model_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("counts", sa.JSON(), nullable=False),
        sa.Column("as_of", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("dimension", "day", "group_name", "model_id", name="pk_monitor_day"),
    )
    op.create_index("ix_monitor_day_day", "monitor_day", ["day"])
    state = op.create_table(
        "monitor_state",
        sa.Column("name", sa.String(length=20), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_monitor_state"),
    )
    counted = {"name": "counted", "value": {"seq": None, "stale": []}, "at": datetime.now(UTC)}
    op.bulk_insert(state, [counted])


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("monitor_state")
    op.drop_table("monitor_day")
