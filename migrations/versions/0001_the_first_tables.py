"""Create the first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
UTC_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the first tables."""
    op.create_table(
        "audit_event",
        sa.Column("seq", KEY, autoincrement=False, nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.Column("kind", sa.String(length=50), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("subject", sa.String(length=100), nullable=False),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_audit_event"),
    )
    op.create_index("ix_audit_event_subject", "audit_event", ["subject"], unique=False)

    op.create_table(
        "chain_head",
        sa.Column("id", KEY, autoincrement=False, nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_chain_head"),
    )
    op.create_table(
        "model",
        sa.Column("id", KEY, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("version", sa.String(length=50), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("active_since", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_model"),
        sa.UniqueConstraint("sha256", name="uq_model_sha256"),
    )
    op.create_table(
        "process",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("host", sa.String(length=200), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("started_at", UTC_TIME, nullable=False),
        sa.Column("beat_at", UTC_TIME, nullable=False),
        sa.Column("period_s", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_process"),
        sa.UniqueConstraint("name", "host", name="uq_process_name_host"),
    )
    op.create_table(
        "run",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("started_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
        sa.UniqueConstraint("name", name="uq_run_name"),
    )
    op.create_table(
        "user",
        sa.Column("id", KEY, nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("created_at", UTC_TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_user"),
        sa.UniqueConstraint("name", name="uq_user_name"),
    )
    op.create_table(
        "image",
        sa.Column("id", KEY, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("format", sa.String(length=20), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("phantom", sa.Boolean(), nullable=False),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("lane", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("received_at", UTC_TIME, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("lease_owner", sa.String(length=200), nullable=True),
        sa.Column("lease_until", UTC_TIME, nullable=True),
        sa.Column("queued_at", UTC_TIME, nullable=True),
        sa.Column("reason_code", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("retry_reason", sa.Text(), nullable=True),
        sa.Column("study_uid", sa.String(length=64), nullable=True),
        sa.Column("patient_key", sa.String(length=64), nullable=True),
        sa.Column("age_years", sa.Double(), nullable=True),
        sa.Column("sex", sa.String(length=1), nullable=True),
        sa.Column("view", sa.String(length=20), nullable=True),
        sa.Column("verdict", sa.String(length=20), nullable=True),
        sa.Column("p_pneumonia", sa.Double(), nullable=True),
        sa.Column("review_state", sa.String(length=20), nullable=True),
        sa.Column("claimed_by_id", KEY, nullable=True),
        sa.Column("claimed_until", UTC_TIME, nullable=True),
        sa.ForeignKeyConstraint(["claimed_by_id"], ["user.id"], name="fk_image_claimed_by_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_image_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_image"),
        sa.UniqueConstraint("sha256", name="uq_image_sha256"),
    )
    op.create_index("ix_image_claimed_by_id", "image", ["claimed_by_id"], unique=False)
    op.create_index("ix_image_patient_key", "image", ["patient_key"], unique=False)
    op.create_index("ix_image_queue", "image", ["review_state", "p_pneumonia", "id"], unique=False)
    op.create_index("ix_image_run_id", "image", ["run_id"], unique=False)
    op.create_index("ix_image_waiting", "image", ["state", "lane", "id"], unique=False)

    op.create_table(
        "operating_point",
        sa.Column("id", KEY, nullable=False),
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("band_low", sa.Double(), nullable=False),
        sa.Column("band_high", sa.Double(), nullable=False),
        sa.Column("set_by", sa.String(length=200), nullable=False),
        sa.Column("why", sa.Text(), nullable=False),
        sa.Column("set_at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_operating_point_model_id"),
        sa.PrimaryKeyConstraint("id", name="pk_operating_point"),
    )
    op.create_index("ix_operating_point_model_id", "operating_point", ["model_id"], unique=False)

    op.create_table(
        "prediction",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("model_id", KEY, nullable=False),
        sa.Column("operating_point_id", KEY, nullable=False),
        sa.Column("p_normal", sa.Double(), nullable=False),
        sa.Column("p_bacterial", sa.Double(), nullable=False),
        sa.Column("p_viral", sa.Double(), nullable=False),
        sa.Column("p_pneumonia", sa.Double(), nullable=False),
        sa.Column("confidence", sa.Double(), nullable=False),
        sa.Column("verdict", sa.String(length=20), nullable=False),
        sa.Column("activation", sa.LargeBinary(), nullable=False),
        sa.Column("map_height", sa.Integer(), nullable=False),
        sa.Column("map_width", sa.Integer(), nullable=False),
        sa.Column("started_at", UTC_TIME, nullable=False),
        sa.Column("finished_at", UTC_TIME, nullable=False),
        sa.Column("compute_ms", sa.Double(), nullable=False),
        sa.Column("worker", sa.String(length=200), nullable=False),
        sa.Column("versions", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_prediction_image_id"),
        sa.ForeignKeyConstraint(["model_id"], ["model.id"], name="fk_prediction_model_id"),
        sa.ForeignKeyConstraint(
            ["operating_point_id"], ["operating_point.id"], name="fk_prediction_operating_point_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_prediction"),
        sa.UniqueConstraint("image_id", "model_id", name="uq_prediction_image_id_model_id"),
    )
    op.create_index("ix_prediction_finished_at", "prediction", ["finished_at"], unique=False)
    op.create_index("ix_prediction_model_id", "prediction", ["model_id"], unique=False)

    op.create_table(
        "receipt",
        sa.Column("id", KEY, nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("original_name", sa.Text(), nullable=False),
        sa.Column("arrival", sa.String(length=200), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.String(length=20), nullable=False),
        sa.Column("reason_code", sa.String(length=40), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("run_id", KEY, nullable=False),
        sa.Column("received_at", UTC_TIME, nullable=False),
        sa.Column("received_by", sa.String(length=200), nullable=True),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_receipt_image_id"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_receipt_run_id"),
        sa.PrimaryKeyConstraint("id", name="pk_receipt"),
        sa.UniqueConstraint("arrival", name="uq_receipt_arrival"),
    )
    op.create_index("ix_receipt_image_id", "receipt", ["image_id"], unique=False)
    op.create_index("ix_receipt_outcome", "receipt", ["outcome"], unique=False)
    op.create_index("ix_receipt_run_id", "receipt", ["run_id"], unique=False)

    op.create_table(
        "review",
        sa.Column("id", KEY, nullable=False),
        sa.Column("image_id", KEY, nullable=False),
        sa.Column("prediction_id", KEY, nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("action", sa.String(length=20), nullable=False),
        sa.Column("finding", sa.String(length=20), nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("undoes_id", KEY, nullable=True),
        sa.Column("at", UTC_TIME, nullable=False),
        sa.ForeignKeyConstraint(["image_id"], ["image.id"], name="fk_review_image_id"),
        sa.ForeignKeyConstraint(["prediction_id"], ["prediction.id"], name="fk_review_prediction_id"),
        sa.ForeignKeyConstraint(["undoes_id"], ["review.id"], name="fk_review_undoes_id"),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_review_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_review"),
        sa.UniqueConstraint("undoes_id", name="uq_review_undoes_id"),
    )
    op.create_index("ix_review_image_id", "review", ["image_id"], unique=False)
    op.create_index("ix_review_user_id", "review", ["user_id"], unique=False)

    _create_audit_chain()


def _create_audit_chain() -> None:
    op.execute(
        sa.text("INSERT INTO chain_head (id, seq, hash) VALUES (1, 0, :zero)").bindparams(zero="0" * 64)
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_event_keeps_{verb.lower()} BEFORE {verb} ON audit_event "
                "BEGIN SELECT RAISE(ABORT, 'audit_event is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_event_keeps() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit_event is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_event_keeps BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_event "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_event_keeps()"
    )
