"""Add the record of accesses, its batches, and indexes for the audit page."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)
APPEND_ONLY = ("access_record", "access_batch")
# `worker.ledger.access_batches` has the same number.
LOCK = 0x6E69676875


def upgrade() -> None:
    """Create three empty tables, and index the events that are neither frequent nor the program's own."""
    _create_tables()
    _create_indexes()
    if op.get_bind().dialect.name == "sqlite":
        _protect_on_sqlite()
    else:
        _protect_on_postgresql()


def _create_tables() -> None:
    op.create_table(
        "access_record",
        sa.Column("id", KEY, nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("image_id", sa.BigInteger(), nullable=True),
        sa.Column("run_id", sa.BigInteger(), nullable=True),
        sa.Column("code", sa.String(length=100), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("reason_seal", sa.String(length=64), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_access_record"),
    )
    op.create_table(
        "access_reason",
        sa.Column("access_id", KEY, autoincrement=False, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=True),
        sa.ForeignKeyConstraint(["access_id"], ["access_record.id"], name="fk_access_reason_access_id"),
        sa.PrimaryKeyConstraint("access_id", name="pk_access_reason"),
    )
    op.create_table(
        "access_batch",
        sa.Column("id", KEY, nullable=False),
        sa.Column("first_id", sa.BigInteger(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_access_batch"),
        sa.UniqueConstraint("last_id", name="uq_access_batch_last_id"),
    )


def _create_indexes() -> None:
    op.create_index("ix_access_record_at", "access_record", ["at"])
    op.create_index("ix_access_record_of_image", "access_record", ["image_id", "id"])
    op.create_index("ix_access_record_of_actor", "access_record", ["actor", "id"])
    op.create_index("ix_access_record_of_kind", "access_record", ["kind", "id"])
    op.create_index("ix_access_record_of_actor_and_kind", "access_record", ["actor", "kind", "id"])
    for name, columns, condition in (
        ("rare_kind", ["kind", "seq"], sa.text("kind NOT IN ('received', 'scored')")),
        ("of_actor", ["actor", "seq"], sa.text("actor <> 'nightread'")),
    ):
        op.create_index(
            f"ix_audit_event_{name}",
            "audit_event",
            columns,
            sqlite_where=condition,
            postgresql_where=condition,
        )


def _protect_on_sqlite() -> None:
    for table in APPEND_ONLY:
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_keeps_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )


def _protect_on_postgresql() -> None:
    op.execute(
        "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
    )
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
        )
    # Before the statement takes an id from the sequence: see `worker.ledger.access_batches`.
    op.execute(
        "CREATE FUNCTION access_record_is_written() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NULL; END $$"
    )
    op.execute(
        "CREATE TRIGGER access_record_is_written BEFORE INSERT ON access_record "
        "FOR EACH STATEMENT EXECUTE FUNCTION access_record_is_written()"
    )


def downgrade() -> None:
    """Remove tables, functions and indexes."""
    op.drop_index("ix_audit_event_of_actor", table_name="audit_event")
    op.drop_index("ix_audit_event_rare_kind", table_name="audit_event")
    op.drop_table("access_batch")
    op.drop_table("access_reason")
    op.drop_table("access_record")
    if op.get_bind().dialect.name != "sqlite":
        op.execute("DROP FUNCTION append_only")
        op.execute("DROP FUNCTION access_record_is_written")
