"""Tallies that triggers keep, and an index for each question that a page asks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
# The tally of each table: of which columns, and what they refer to.
TALLIES: dict[str, dict[str, str | None]] = {
    "receipt": {"run_id": "run.id", "outcome": None},
    "image": {"run_id": "run.id", "state": None, "verdict": None, "review_state": None},
    "prediction": {"model_id": "model.id"},
}
EVENTS = ("INSERT", "UPDATE", "DELETE")


def upgrade() -> None:
    """Count once what is there; from then on the triggers do."""
    _drop_what_no_question_needs()
    _let_images_say_when_they_were_scored()
    _index_each_question()
    for table, columns in TALLIES.items():
        _make_tally(table, columns)
        for event in EVENTS:
            if op.get_bind().dialect.name == "sqlite":
                _watch_on_sqlite(table, list(columns), event)
            else:
                _watch_on_postgresql(table, list(columns), event)


def _drop_what_no_question_needs() -> None:
    for table, name in (
        ("image", "queue"),
        ("image", "run_id"),
        ("receipt", "outcome"),
        ("receipt", "run_id"),
        ("prediction", "model_id"),
    ):
        op.drop_index(f"ix_{table}_{name}", table_name=table)


def _let_images_say_when_they_were_scored() -> None:
    op.add_column("image", sa.Column("scored_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("image", sa.Column("compute_ms", sa.Double(), nullable=True))
    op.execute(
        "UPDATE image SET scored_at = prediction.finished_at, compute_ms = prediction.compute_ms "
        "FROM prediction WHERE prediction.image_id = image.id AND image.state = 'scored' "
        "AND prediction.id = (SELECT max(id) FROM prediction AS other WHERE other.image_id = image.id)"
    )


def _index_each_question() -> None:
    by_urgency = ["review_state", "verdict", "p_pneumonia", "id"]
    away = sa.text("reason_code IS NOT NULL")
    op.create_index("ix_image_queue", "image", by_urgency)
    op.create_index("ix_image_queue_of_run", "image", ["run_id", *by_urgency])
    op.create_index("ix_image_scored_in_run", "image", ["run_id", "scored_at"])
    op.create_index("ix_image_slow_in_run", "image", ["run_id", "compute_ms"])
    op.create_index("ix_image_turned_away", "image", ["id"], sqlite_where=away, postgresql_where=away)
    op.create_index(
        "ix_image_turned_away_of_run", "image", ["run_id", "id"], sqlite_where=away, postgresql_where=away
    )
    op.create_index("ix_prediction_of_model", "prediction", ["model_id", "id"])


def _make_tally(table: str, columns: dict[str, str | None]) -> None:
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


def _watch_on_sqlite(table: str, columns: list[str], event: str) -> None:
    of = f"UPDATE OF {', '.join(columns)}" if event == "UPDATE" else event
    rows = {"INSERT": ["NEW"], "UPDATE": ["OLD", "NEW"], "DELETE": ["OLD"]}[event]
    counts = " ".join(
        f"INSERT INTO {table}_tally ({', '.join(columns)}, total) "
        f"VALUES ({', '.join(_kind(f'{row}.{name}') for name in columns)}, {1 if row == 'NEW' else -1}) "
        f"{_add(table, columns)};"
        for row in rows
    )
    op.execute(f"CREATE TRIGGER {table}_tally_{event.lower()} AFTER {of} ON {table} BEGIN {counts} END")


def _watch_on_postgresql(table: str, columns: list[str], event: str) -> None:
    """Once a statement, not once a row: what it changed is counted first."""
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
    """A column as the tally has it: no key of a table is null."""
    return f"coalesce({column}, '')" if column.endswith(("verdict", "review_state")) else column


def _add(table: str, columns: list[str]) -> str:
    return f"ON CONFLICT ({', '.join(columns)}) DO UPDATE SET total = {table}_tally.total + excluded.total"
