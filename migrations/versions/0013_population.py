"""Add whether the model's figures hold for the patient, and count images by it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

NAME = "population"
KEYS = ("run_id", "state", "verdict", "review_state")
EVENTS = ("INSERT", "UPDATE", "DELETE")
# The rows of the table that a trigger of each event adds to and takes from the tally.
ROWS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}


def upgrade() -> None:
    """Nobody checked the patients of earlier predictions, so the columns stay null and the tallies keep their totals."""
    for table in ("image", "prediction"):
        op.add_column(table, sa.Column(NAME, sa.String(10), nullable=True))
    _drop_triggers()
    with op.batch_alter_table("image_tally") as tally:
        tally.add_column(sa.Column(NAME, sa.String(10), nullable=False, server_default=""))
        tally.drop_constraint("pk_image_tally", type_="primary")
        tally.create_primary_key("pk_image_tally", [*KEYS, NAME])
    with op.batch_alter_table("image_tally") as tally:
        tally.alter_column(NAME, server_default=None)
    _create_triggers((*KEYS, NAME))


def downgrade() -> None:
    """Remove the columns, and add up the tallies of images that differ in nothing else."""
    _drop_triggers()
    tally = sa.table("image_tally", *map(sa.column, (*KEYS, NAME, "total")))
    kept = [tally.c[key] for key in KEYS]
    added_up = (
        op.get_bind()
        .execute(sa.select(*kept, sa.func.sum(tally.c.total).label("total")).group_by(*kept))
        .all()
    )
    op.execute(sa.delete(tally))
    with op.batch_alter_table("image_tally") as changed:
        changed.drop_constraint("pk_image_tally", type_="primary")
        changed.drop_column(NAME)
        changed.create_primary_key("pk_image_tally", list(KEYS))
    rows = [{**row._mapping, "total": int(row.total)} for row in added_up]  # noqa: SLF001 - the public name of SQLAlchemy
    if rows:
        op.get_bind().execute(sa.insert(tally), rows)
    _create_triggers(KEYS)
    for table in ("image", "prediction"):
        op.drop_column(table, NAME)


def _drop_triggers() -> None:
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for event in EVENTS:
        name = f"image_tally_{event.lower()}"
        op.execute(f"DROP TRIGGER {name}" if on_sqlite else f"DROP FUNCTION {name} CASCADE")


def _create_triggers(columns: tuple[str, ...]) -> None:
    """Create the triggers of migration 0003 anew, for these columns."""
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    for event in EVENTS:
        (_create_sqlite_trigger if on_sqlite else _create_postgresql_trigger)(columns, event)


def _create_sqlite_trigger(columns: tuple[str, ...], event: str) -> None:
    names = ", ".join(columns)
    trigger_event = f"UPDATE OF {names}" if event == "UPDATE" else event
    counts = " ".join(
        f"INSERT INTO image_tally ({names}, total) "
        f"VALUES ({', '.join(_kind(name, f'{row}.') for name in columns)}, {1 if row == 'NEW' else -1}) {_add(names)};"
        for row in ROWS[event]
    )
    op.execute(
        f"CREATE TRIGGER image_tally_{event.lower()} AFTER {trigger_event} ON image BEGIN {counts} END"
    )


def _create_postgresql_trigger(columns: tuple[str, ...], event: str) -> None:
    name, names = f"image_tally_{event.lower()}", ", ".join(columns)
    kinds = ", ".join(f"{_kind(column)} AS {column}" for column in columns)
    changed = " UNION ALL ".join(
        f"SELECT {kinds}, {1 if row == 'NEW' else -1} AS total FROM {row.lower()}_rows" for row in ROWS[event]
    )
    op.execute(
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        f"INSERT INTO image_tally ({names}, total) SELECT {names}, sum(total) FROM ({changed}) AS changed "
        f"GROUP BY {names} HAVING sum(total) <> 0 ORDER BY {names} {_add(names)}; "
        "RETURN NULL; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {name} AFTER {event} ON image "
        f"REFERENCING {' '.join(f'{row} TABLE AS {row.lower()}_rows' for row in ROWS[event])} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )


def _kind(column: str, row: str = "") -> str:
    """Return a column as the tally stores it: empty text for null, because a key must not be null."""
    nullable = column not in {"run_id", "state"}
    return f"coalesce({row}{column}, '')" if nullable else f"{row}{column}"


def _add(names: str) -> str:
    return f"ON CONFLICT ({names}) DO UPDATE SET total = image_tally.total + excluded.total"
