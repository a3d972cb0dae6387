"""Add indexes for the orders of the queue by time, and to find a study by its accession number."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

SCORED = sa.text("verdict IS NOT NULL")
WITHOUT_VERDICT = sa.text("verdict IS NULL")
STATED = sa.text("accession IS NOT NULL")


def upgrade() -> None:
    """Create the indexes."""
    by_time = ["review_state", "verdict", "received_at", "id"]
    _index("ix_image_queue_by_time", "image", by_time, SCORED)
    _index("ix_image_queue_by_time_of_run", "image", ["run_id", *by_time], SCORED)
    _index("ix_image_without_score", "image", ["state", "received_at", "id"], WITHOUT_VERDICT)
    _index(
        "ix_image_without_score_of_run", "image", ["run_id", "state", "received_at", "id"], WITHOUT_VERDICT
    )
    _index("ix_study_accession", "study", ["accession"], STATED)


def downgrade() -> None:
    """Drop the indexes."""
    op.drop_index("ix_study_accession", table_name="study")
    for name in ("without_score_of_run", "without_score", "queue_by_time_of_run", "queue_by_time"):
        op.drop_index(f"ix_image_{name}", table_name="image")


def _index(name: str, table: str, columns: list[str], rows: sa.TextClause) -> None:
    op.create_index(name, table, columns, sqlite_where=rows, postgresql_where=rows)
