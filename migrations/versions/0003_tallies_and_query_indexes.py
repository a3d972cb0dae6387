"""Add tallies, which triggers update, and one index for each query of a page."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The tallied columns of each table, and what each column refers to.
TALLIES: dict[str, dict[str, str | None]] = {
    "receipt": {"run_id": "run.id", "outcome": None},
    "image": {"run_id": "run.id", "state": None, "verdict": None, "review_state": None},
    "prediction": {"model_id": "model.id"},
}
EVENTS = ("INSERT", "UPDATE", "DELETE")


def upgrade() -> None:
    """Count the existing rows; from then on triggers update the tallies."""
    _drop_unused_indexes()
    _add_score_columns_to_images()
    _create_indexes()
    for table, columns in TALLIES.items():
        _create_tally(table, columns)
        for event in EVENTS:
            if op.get_bind().dialect.name == "sqlite":
                _create_sqlite_trigger(table, list(columns), event)
            else:
                _create_postgresql_trigger(table, list(columns), event)


def _drop_unused_indexes() -> None:
    for table, name in (
        ("image", "queue"),
        ("image", "run_id"),
        ("receipt", "outcome"),
        ("receipt", "run_id"),
        ("prediction", "model_id"),
    ):
        op.drop_index(f"ix_{table}_{name}", table_name=table)


def _add_score_columns_to_images() -> None:
    op.add_column("image", sa.Column("scored_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("image", sa.Column("compute_ms", sa.Double(), nullable=True))
    op.execute(
        "UPDATE image SET scored_at = prediction.finished_at, compute_ms = prediction.compute_ms "
        "FROM prediction WHERE prediction.image_id = image.id AND image.state = 'scored' "
        "AND prediction.id = (SELECT max(id) FROM prediction AS other WHERE other.image_id = image.id)"
    )


def _create_indexes() -> None:
    by_urgency = ["review_state", "verdict", "p_pneumonia", "id"]
    has_reason = sa.text("reason_code IS NOT NULL")
    op.create_index("ix_image_queue", "image", by_urgency)
    op.create_index("ix_image_queue_of_run", "image", ["run_id", *by_urgency])
    op.create_index("ix_image_scored_in_run", "image", ["run_id", "scored_at"])
    op.create_index("ix_image_slow_in_run", "image", ["run_id", "compute_ms"])
    op.create_index(
        "ix_image_turned_away", "image", ["id"], sqlite_where=has_reason, postgresql_where=has_reason
    )
    op.create_index(
        "ix_image_turned_away_of_run",
        "image",
        ["run_id", "id"],
        sqlite_where=has_reason,
        postgresql_where=has_reason,
    )
    op.create_index("ix_prediction_of_model", "prediction", ["model_id", "id"])


def _create_tally(table: str, columns: dict[str, str | None]) -> None:
    op.create_table(
        f"{table}_tally",
        *(
            sa.Column(name, KEY if target else sa.String(length=20), nullable=False)
            for name, target in columns.items()
        ),
        sa.Column("total", sa.BigInteger(), nullable=False),
        *(
            sa.ForeignKeyConstraint([name], [target], name=f"fk_{table}_tally_{name}")
            for name, target in columns.items()
            if target
        ),
        sa.PrimaryKeyConstraint(*columns, name=f"pk_{table}_tally"),
    )
    names, kinds = ", ".join(columns), ", ".join(_kind(name) for name in columns)
    op.execute(
        f"INSERT INTO {table}_tally ({names}, total) SELECT {kinds}, count(*) FROM {table} GROUP BY {kinds}"
    )


def _create_sqlite_trigger(table: str, columns: list[str], event: str) -> None:
    trigger_event = f"UPDATE OF {', '.join(columns)}" if event == "UPDATE" else event
    rows = {"INSERT": ["NEW"], "UPDATE": ["OLD", "NEW"], "DELETE": ["OLD"]}[event]
    counts = " ".join(
        f"INSERT INTO {table}_tally ({', '.join(columns)}, total) "
        f"VALUES ({', '.join(_kind(f'{row}.{name}') for name in columns)}, {1 if row == 'NEW' else -1}) "
        f"{_add(table, columns)};"
        for row in rows
    )
    op.execute(
        f"CREATE TRIGGER {table}_tally_{event.lower()} AFTER {trigger_event} ON {table} BEGIN {counts} END"
    )


def _create_postgresql_trigger(table: str, columns: list[str], event: str) -> None:
    """Create a trigger that runs once a statement, not once a row, and adds the sum of its changes."""
    name = f"{table}_tally_{event.lower()}"
    rows = {"INSERT": ["NEW"], "UPDATE": ["OLD", "NEW"], "DELETE": ["OLD"]}[event]
    kinds = ", ".join(f"{_kind(column)} AS {column}" for column in columns)
    changed = " UNION ALL ".join(
        f"SELECT {kinds}, {1 if row == 'NEW' else -1} AS total FROM {row.lower()}_rows" for row in rows
    )
    names = ", ".join(columns)
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO {table}_tally ({names}, total) SELECT {names}, sum(total) FROM ({changed}) AS changed "
        f"GROUP BY {names} HAVING sum(total) <> 0 ORDER BY {names} {_add(table, columns)}; "
        "RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event} ON {table} "
        f"REFERENCING {' '.join(f'{row} TABLE AS {row.lower()}_rows' for row in rows)} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )


def _kind(column: str) -> str:
    """Return a column as the tally stores it: empty text for null, because a key must not be null."""
    return f"coalesce({column}, '')" if column.endswith(("verdict", "review_state")) else column


def _add(table: str, columns: list[str]) -> str:
    return f"ON CONFLICT ({', '.join(columns)}) DO UPDATE SET total = {table}_tally.total + excluded.total"
