"""Add what signing in needs: the roles of a person, sessions, and one-time links."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Whoever has read before is a reader. Nobody can sign in yet: an administrator makes links."""
    op.add_column("user", sa.Column("roles", sa.String(200), nullable=False, server_default="reader"))
    op.add_column("user", sa.Column("disabled_at", TIME, nullable=True))
    op.create_table(
        "session",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("method", sa.String(20), nullable=False),
        sa.Column("address", sa.String(45), nullable=False),
        sa.Column("browser", sa.String(200), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("seen_at", TIME, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_session_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_session"),
        sa.UniqueConstraint("key_sha256", name="uq_session_key_sha256"),
    )
    op.create_index("ix_session_user_id", "session", ["user_id"])
    op.create_table(
        "sign_in_link",
        sa.Column("id", KEY, nullable=False),
        sa.Column("key_sha256", sa.String(64), nullable=False),
        sa.Column("user_id", KEY, nullable=False),
        sa.Column("made_at", TIME, nullable=False),
        sa.Column("valid_until", TIME, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"], name="fk_sign_in_link_user_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sign_in_link"),
        sa.UniqueConstraint("key_sha256", name="uq_sign_in_link_key_sha256"),
    )
    op.create_index("ix_sign_in_link_user_id", "sign_in_link", ["user_id"])


def downgrade() -> None:
    """Remove them."""
    op.drop_table("sign_in_link")
    op.drop_table("session")
    op.drop_column("user", "disabled_at")
    op.drop_column("user", "roles")
