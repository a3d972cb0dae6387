"""The roles of packaging/postgresql-roles.sql in a database of the tests."""

from __future__ import annotations

from sqlalchemy import create_engine, make_url

from worker.config import ROOT, Settings

SCRIPT = ROOT / "packaging" / "postgresql-roles.sql"


def make_roles(url: str) -> None:
    """Run the whole script at once, as `psql --file` does."""
    run_script(url, SCRIPT.read_text())


def run_script(url: str, script: str) -> None:
    """Run a script of SQL at once, as the administrator."""
    engine = create_engine(Settings(database_url=url).database, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.connection.cursor().execute(script)
    engine.dispose()


def url_as(role: str, url: str) -> str:
    """Return the URL of the same database for another role."""
    own = make_url(Settings(database_url=url).database)
    return own.set(username=role).render_as_string(hide_password=False)
