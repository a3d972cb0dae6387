"""Readings by meaning: reasons, other findings, changes of readings, what the reader saw, and images without a score."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
OLD = ("id", "image_id", "prediction_id", "user_id", "action", "finding", "note", "salt", "undoes_id", "at")
REFERENCES = {"image_id": "image", "prediction_id": "prediction", "user_id": "user", "undoes_id": "review"}

UNKNOWN_TO_0017 = (
    "action = 'amend' OR prediction_id IS NULL OR finding IN ('cannot_be_judged', 'second_opinion')"
)


def upgrade() -> None:
    """Add the columns, and call each earlier reading what it is now.

    The finding of an earlier reading was recorded by its meaning: what *confirm* or *override* said about the verdict
    then shown. So only the action changes. The event of the reading keeps the word of its version.
    """
    if op.get_bind().dialect.name == "sqlite":
        _replace_table(
            [*_old_columns(nullable=True), *_new_columns()], {**REFERENCES, "supersedes_id": "review"}
        )
    else:
        op.alter_column("review", "prediction_id", nullable=True)
        for column in _new_columns():
            op.add_column("review", column)
        op.create_foreign_key("fk_review_supersedes_id", "review", "review", ["supersedes_id"], ["id"])
        op.drop_index("ix_review_user_id", "review")
    op.create_index("ix_review_of_user", "review", ["user_id", "id"])
    op.execute("UPDATE review SET action = 'read' WHERE action IN ('confirm', 'override')")


def downgrade() -> None:
    """Remove the columns, and the rows that an earlier version cannot hold."""
    op.execute("UPDATE review SET supersedes_id = NULL")
    op.execute(f"DELETE FROM review WHERE undoes_id IN (SELECT id FROM review WHERE {UNKNOWN_TO_0017})")
    op.execute(f"DELETE FROM review WHERE {UNKNOWN_TO_0017}")
    op.execute(
        "UPDATE review SET action = CASE WHEN (finding = 'signs_of_pneumonia') = (prediction.verdict <> 'clear') "
        "THEN 'confirm' ELSE 'override' END FROM prediction "
        "WHERE prediction.id = review.prediction_id AND review.action = 'read'"
    )
    if op.get_bind().dialect.name == "sqlite":
        _replace_table(_old_columns(nullable=False), REFERENCES)
    else:
        for column in _new_columns():
            op.drop_column("review", column.name)
        op.alter_column("review", "prediction_id", nullable=False)
        op.drop_index("ix_review_of_user", "review")
    op.create_index("ix_review_user_id", "review", ["user_id"])


def _old_columns(*, nullable: bool) -> list[sa.Column[Any]]:
    return [
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("prediction_id", KEY, nullable=nullable),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("finding", sa.String(length=20), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=True),
        sa.Column("undoes_id", KEY, nullable=True),
        sa.Column("at", UTC_TIME, nullable=False),
    ]


def _new_columns() -> list[sa.Column[Any]]:
    return [
        sa.Column("reason_code", sa.String(length=40), nullable=True),
        sa.Column("other_finding", sa.Text(), nullable=False, server_default=""),
        sa.Column("why", sa.Text(), nullable=False, server_default=""),
        sa.Column("supersedes_id", KEY, nullable=True),
        sa.Column("score_shown", sa.Boolean(), nullable=True),
        sa.Column("map_shown", sa.Boolean(), nullable=True),
        sa.Column("open_ms", sa.BigInteger(), nullable=True),
    ]


def _replace_table(columns: list[sa.Column[Any]], references: dict[str, str]) -> None:
    """Copy the rows into a new table, because SQLite cannot make a column nullable.

    The new table refers to itself from the start. If it referred to the old one, that could not be removed.
    """
    op.create_table(
        "new_review",
        *columns,
        *(
            sa.ForeignKeyConstraint(
                [name], [f"{'new_review' if table == 'review' else table}.id"], name=f"fk_review_{name}"
            )
            for name, table in references.items()
        ),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
        sa.UniqueConstraint("undoes_id", name="uq_review_undoes_id"),
    )
    names = ", ".join(OLD)
    op.execute(f"INSERT INTO new_review ({names}) SELECT {names} FROM review ORDER BY id")
    op.drop_table("review")
    op.rename_table("new_review", "review")
    op.create_index("ix_review_image_id", "review", ["image_id"])
