"""The database crashes, rejects connections, fills up or is read-only for a while, and files keep arriving."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.chaos.hosts import needs_root
from tests.chaos.private_postgres import PrivatePostgres, private_postgres
from tests.chaos.sender import Sender
from tests.conftest import Stack, stack_factory, wait_for
from worker.ledger.heartbeats import process_statuses
from worker.ledger.session import ledger_time

pytestmark = [pytest.mark.stack, pytest.mark.postgres, needs_root]

# Shorter and longer than Nightread waits for a lock.
LOCK_DURATIONS_S = [2.0, pytest.param(45.0, marks=pytest.mark.long)]


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """Mount a separate small disk at a folder."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "nightread-test", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def full_disk(folder: Path) -> Iterator[None]:
    """Fill the disk of a folder completely. Free the space after the block."""
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Make a folder read-only. Files that are already open stay writable."""
    subprocess.run(["mount", "--bind", str(folder), str(folder)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@dataclass
class Site:
    """A running Nightread whose ledger is on a small disk."""

    sender: Sender
    disk: Path
    postgres: PrivatePostgres | None = None

    @property
    def stack(self) -> Stack:
        return self.sender.stack

    @property
    def server(self) -> PrivatePostgres:
        assert self.postgres is not None
        return self.postgres

    def close_all_connections(self) -> None:
        self.server.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'nightread'"
        )

    def wait_for_log(self, message: str, start: int) -> None:
        """Wait until the log has this message after its first `start` characters."""
        wait_for(lambda: message in self.stack.log.read_text()[start:], self.stack.log_tail)


def start_site(make: Callable[..., Stack], image: Path, disk: Path, url: str) -> Site:
    # All images are good, so none may be quarantined, however many attempts fail.
    stack = make(chunk_size=4, lease_s=6.0, max_attempts=100, database_url=url)
    stack.start()
    return Site(Sender(stack, image), disk)


@pytest.fixture(scope="module")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Site]:
    with private_postgres() as server, stack_factory(tmp_path_factory.mktemp("site")) as make:
        disk = server.folder / "disk"
        disk.mkdir()
        with small_disk(disk, 40):
            server.give_folder(disk)
            server.execute(
                f"CREATE TABLESPACE small LOCATION '{disk}'", "ALTER DATABASE nightread SET TABLESPACE small"
            )
            site = start_site(make, phantoms[0], disk, server.url())
            site.postgres = server
            yield site
            site.stack.stop()
            site.stack.ledger.close()
            server.stop()


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    disk = folder / "disk"
    disk.mkdir()
    with small_disk(disk, 8), stack_factory(folder) as make:
        yield start_site(make, phantoms[0], disk, f"sqlite:///{disk / 'ledger.sqlite3'}")


def crash_and_restart(site: Site, log_start: int) -> None:
    site.server.stop("immediate")
    try:
        site.wait_for_log("the database cannot be used now", log_start)
    finally:
        site.server.start()


def allow_no_connection(site: Site, log_start: int) -> None:
    site.server.execute("ALTER ROLE nightread CONNECTION LIMIT 0")
    site.close_all_connections()
    try:
        site.wait_for_log("too many connections", log_start)
    finally:
        site.server.execute("ALTER ROLE nightread CONNECTION LIMIT -1")


def allow_reading_only(site: Site, log_start: int) -> None:
    site.server.execute("ALTER DATABASE nightread SET default_transaction_read_only = on")
    site.close_all_connections()
    try:
        site.wait_for_log("read-only transaction", log_start)
    finally:
        site.server.execute("ALTER DATABASE nightread RESET default_transaction_read_only")


def fill_disk(site: Site, log_start: int) -> None:
    with full_disk(site.disk):
        site.wait_for_log("No space left on device", log_start)


@pytest.mark.parametrize(
    "cause_fault", [crash_and_restart, allow_no_connection, allow_reading_only, fill_disk]
)
def test_postgresql_fault_loses_no_file_and_work_resumes(
    on_postgresql: Site, cause_fault: Callable[[Site, int], None]
) -> None:
    assert_work_resumes_after(on_postgresql, cause_fault)


def fill_sqlite_disk(site: Site, log_start: int) -> None:
    with full_disk(site.disk):
        site.wait_for_log("database or disk is full", log_start)


def restart_on_read_only_disk(site: Site, log_start: int) -> None:
    with read_only(site.disk):
        for process in site.stack.processes("watch") + site.stack.processes("worker"):
            process.kill()
        site.wait_for_log("readonly database", log_start)


@pytest.mark.parametrize("cause_fault", [fill_sqlite_disk, restart_on_read_only_disk])
def test_sqlite_fault_loses_no_file_and_work_resumes(
    on_sqlite: Site, cause_fault: Callable[[Site, int], None]
) -> None:
    assert_work_resumes_after(on_sqlite, cause_fault)


def assert_work_resumes_after(site: Site, cause_fault: Callable[[Site, int], None]) -> None:
    site.sender.send(10)
    with site.sender.sending():
        cause_fault(site, len(site.stack.log.read_text()))
    site.stack.ledger.close()
    site.sender.assert_no_file_is_lost()
    wait_for(lambda: all_processes_are_ok(site.stack), site.stack.log_tail)
    assert "Traceback" not in site.stack.log.read_text()


def all_processes_are_ok(stack: Stack) -> bool:
    with stack.ledger.reading() as session:
        statuses = process_statuses(session, ledger_time(session))
    return {status.name for status in statuses if status.ok} == {"watch", "sweeper", "worker", "web"}


@pytest.mark.parametrize("duration_s", LOCK_DURATIONS_S)
def test_locked_postgresql_table_loses_no_file_and_work_resumes(
    on_postgresql: Site, duration_s: float
) -> None:
    def hold_lock(site: Site, _log_start: int) -> None:
        engine = create_engine(site.server.url("postgres"))
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE chain_head IN ACCESS EXCLUSIVE MODE"))
            time.sleep(duration_s)
        engine.dispose()

    assert_work_resumes_after(on_postgresql, hold_lock)


@pytest.mark.parametrize("duration_s", LOCK_DURATIONS_S)
def test_locked_sqlite_database_loses_no_file_and_work_resumes(on_sqlite: Site, duration_s: float) -> None:
    def hold_lock(site: Site, _log_start: int) -> None:
        with closing(
            sqlite3.connect(site.disk / "ledger.sqlite3", isolation_level=None, timeout=60)
        ) as connection:
            connection.execute("BEGIN EXCLUSIVE")
            time.sleep(duration_s)
            connection.execute("ROLLBACK")

    assert_work_resumes_after(on_sqlite, hold_lock)
