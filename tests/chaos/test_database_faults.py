"""The database stops, refuses, fills up or only reads for a while, and files keep arriving."""

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

# Shorter than a lock is waited for, and longer.
HELD_S = [2.0, pytest.param(45.0, marks=pytest.mark.long)]


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    """A disk of its own at a folder."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "nightread-test", str(folder)]
    subprocess.run(mount, check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(folder: Path) -> Iterator[None]:
    """Nothing more fits on the disk of a folder."""
    junk = folder / "junk"
    with suppress(OSError), junk.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        junk.unlink()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """What is opened in a folder from now on can only be read."""
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

    def end_all_sessions(self) -> None:
        self.server.do(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = 'nightread'"
        )

    def wait_until_said(self, said: str, since: int) -> None:
        wait_for(lambda: said in self.stack.log.read_text()[since:], self.stack.log_tail)


def running(make: Callable[..., Stack], picture: Path, disk: Path, url: str) -> Site:
    # Here nothing is wrong with any image, so that none may end in quarantine.
    stack = make(chunk_size=4, lease_s=6.0, max_attempts=100, database_url=url)
    stack.start()
    return Site(Sender(stack, picture), disk)


@pytest.fixture(scope="module")
def on_postgresql(tmp_path_factory: pytest.TempPathFactory, phantoms: list[Path]) -> Iterator[Site]:
    with private_postgres() as server, stack_factory(tmp_path_factory.mktemp("site")) as make:
        disk = server.folder / "disk"
        disk.mkdir()
        with small_disk(disk, 40):
            server.own(disk)
            server.do(
                f"CREATE TABLESPACE small LOCATION '{disk}'", "ALTER DATABASE nightread SET TABLESPACE small"
            )
            site = running(make, phantoms[0], disk, server.url())
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
        yield running(make, phantoms[0], disk, f"sqlite:///{disk / 'ledger.sqlite3'}")


def restart(site: Site, seen: int) -> None:
    site.server.stop("immediate")
    try:
        site.wait_until_said("the database cannot be used now", seen)
    finally:
        site.server.start()


def run_out_of_connections(site: Site, seen: int) -> None:
    site.server.do("ALTER ROLE nightread CONNECTION LIMIT 0")
    site.end_all_sessions()
    try:
        site.wait_until_said("too many connections", seen)
    finally:
        site.server.do("ALTER ROLE nightread CONNECTION LIMIT -1")


def only_read(site: Site, seen: int) -> None:
    site.server.do("ALTER DATABASE nightread SET default_transaction_read_only = on")
    site.end_all_sessions()
    try:
        site.wait_until_said("read-only transaction", seen)
    finally:
        site.server.do("ALTER DATABASE nightread RESET default_transaction_read_only")


def fill_the_disk(site: Site, seen: int) -> None:
    with filled(site.disk):
        site.wait_until_said("No space left on device", seen)


@pytest.mark.parametrize("harm", [restart, run_out_of_connections, only_read, fill_the_disk])
def test_postgresql_fault_loses_no_file_and_work_resumes(
    on_postgresql: Site, harm: Callable[[Site, int], None]
) -> None:
    assert_it_is_outlived(on_postgresql, harm)


def fill_the_disk_of_a_file(site: Site, seen: int) -> None:
    with filled(site.disk):
        site.wait_until_said("database or disk is full", seen)


def only_read_a_file(site: Site, seen: int) -> None:
    with read_only(site.disk):
        for process in site.stack.processes("watch") + site.stack.processes("worker"):
            process.kill()
        site.wait_until_said("readonly database", seen)


@pytest.mark.parametrize("harm", [fill_the_disk_of_a_file, only_read_a_file])
def test_sqlite_fault_loses_no_file_and_work_resumes(
    on_sqlite: Site, harm: Callable[[Site, int], None]
) -> None:
    assert_it_is_outlived(on_sqlite, harm)


def assert_it_is_outlived(site: Site, harm: Callable[[Site, int], None]) -> None:
    site.sender.send(10)
    with site.sender.sending():
        harm(site, len(site.stack.log.read_text()))
    site.stack.ledger.close()
    site.sender.assert_no_file_is_lost()
    wait_for(lambda: all_is_well(site.stack), site.stack.log_tail)
    assert "Traceback" not in site.stack.log.read_text()


def all_is_well(stack: Stack) -> bool:
    with stack.ledger.reading() as session:
        signs = process_statuses(session, ledger_time(session))
    return {sign.name for sign in signs if sign.ok} == {"watch", "sweeper", "worker", "web"}


@pytest.mark.parametrize("held_s", HELD_S)
def test_locked_postgresql_table_loses_no_file_and_work_resumes(on_postgresql: Site, held_s: float) -> None:
    def hold(site: Site, _seen: int) -> None:
        engine = create_engine(site.server.url("postgres"))
        with engine.begin() as connection:
            connection.execute(text("LOCK TABLE chain_head IN ACCESS EXCLUSIVE MODE"))
            time.sleep(held_s)
        engine.dispose()

    assert_it_is_outlived(on_postgresql, hold)


@pytest.mark.parametrize("held_s", HELD_S)
def test_locked_sqlite_database_loses_no_file_and_work_resumes(on_sqlite: Site, held_s: float) -> None:
    def hold(site: Site, _seen: int) -> None:
        with closing(
            sqlite3.connect(site.disk / "ledger.sqlite3", isolation_level=None, timeout=60)
        ) as other:
            other.execute("BEGIN EXCLUSIVE")
            time.sleep(held_s)
            other.execute("ROLLBACK")

    assert_it_is_outlived(on_sqlite, hold)
