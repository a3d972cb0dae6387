"""Count images by whether they are far from the training data, so that no page counts them one by one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

NAME = "distance"
KEYS = ("run_id", "state", "verdict", "review_state", "population")
EVENTS = ("INSERT", "UPDATE", "DELETE")
# The rows of the table that a trigger of each event adds to and takes from the tally.
ROWS = {"INSERT": ("NEW",), "UPDATE": ("OLD", "NEW"), "DELETE": ("OLD",)}


def upgrade() -> None:
    """Count the images anew: predictions may have a distance since the migration before."""
    _drop_triggers()
    op.execute("DELETE FROM image_tally")
    with op.batch_alter_table("image_tally") as tally:
        tally.add_column(sa.Column(NAME, sa.String(10), nullable=False, server_default=""))
        tally.drop_constraint("pk_image_tally", type_="primary")
        tally.create_primary_key("pk_image_tally", [*KEYS, NAME])
    with op.batch_alter_table("image_tally") as tally:
        tally.alter_column(NAME, server_default=None)
    _count((*KEYS, NAME))
    _create_triggers((*KEYS, NAME))


def downgrade() -> None:
    """Count the images anew without the distance."""
    _drop_triggers()
    op.execute("DELETE FROM image_tally")
    with op.batch_alter_table("image_tally") as tally:
        tally.drop_constraint("pk_image_tally", type_="primary")
        tally.drop_column(NAME)
        tally.create_primary_key("pk_image_tally", list(KEYS))
    _count(KEYS)
    _create_triggers(KEYS)


def _count(columns: tuple[str, ...]) -> None:
    names, kinds = ", ".join(columns), ", ".join(map(_kind, columns))
    op.execute(
        f"INSERT INTO image_tally ({names}, total) SELECT {kinds}, count(*) FROM image GROUP BY {kinds}"
    )


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
    if column == NAME:
        # The number itself is of no kind. 1 is the limit, and what is beyond it is far.
        return f"CASE WHEN {row}{column} > 1 THEN 'far' WHEN {row}{column} IS NULL THEN '' ELSE 'near' END"
    nullable = column not in {"run_id", "state"}
    return f"coalesce({row}{column}, '')" if nullable else f"{row}{column}"


def _add(names: str) -> str:
    return f"ON CONFLICT ({names}) DO UPDATE SET total = image_tally.total + excluded.total"
