"""`nightread audit checkpoint --every`: a process of its own signs, with a role that may only read."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.conftest import HANG_S, wait_for
from tests.filling import assert_consistent, fill
from tests.roles import make_roles, url_as
from worker.checkpoints import Checkpoints
from worker.config import Settings
from worker.ledger import schema
from worker.ledger.session import Ledger

pytestmark = pytest.mark.postgres

OUT_OF_REACH = "out of reach"


class Signer:
    """The command in a process of its own, with its files in a folder of its own."""

    def __init__(self, folder: Path, url: str) -> None:
        self.checkpoints = folder / "checkpoints.jsonl"
        self.key = folder / "checkpoint.key"
        self.log = folder / "log"
        folder.mkdir()
        secret = folder / "url"
        secret.touch(0o600)
        secret.write_text(url)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.cli", "audit", "checkpoint", "--every", "1"],
                env={**os.environ, "NIGHTREAD_DATA": str(folder), "NIGHTREAD_DATABASE_URL_FILE": str(secret)},
                stdout=log,
                stderr=log,
            )

    def lines(self) -> int:
        return len(self.checkpoints.read_text().splitlines()) if self.checkpoints.exists() else 0

    def warnings(self) -> int:
        return self.log.read_text().count("[warning")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(HANG_S)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as cleanup:
        yield cleanup


@pytest.fixture
def application(postgres_url: str) -> Iterator[Ledger]:
    """Return the ledger as the application's role opens it."""
    make_roles(postgres_url)
    owner = Ledger(url_as("nightread_owner", postgres_url))
    schema.upgrade(owner)
    owner.close()
    ledger = Ledger(url_as("nightread_app", postgres_url))
    yield ledger
    ledger.close()


def start(stack: ExitStack, folder: Path, url: str) -> Signer:
    signer = Signer(folder, url)
    stack.callback(signer.process.kill)
    return signer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_auditor_signs_each_new_event_without_a_warning(
    stack: ExitStack, application: Ledger, postgres_url: str, tmp_path: Path, number: int
) -> None:
    fill(application, 1)
    auditor = url_as("nightread_auditor", postgres_url)
    signer = start(stack, tmp_path / "signer", auditor)
    wait_for(lambda: signer.lines() == 1, signer.log.read_text)
    fill(application, 2)
    wait_for(lambda: signer.lines() >= 2, signer.log.read_text)
    assert signer.stop(number) == 0
    assert signer.warnings() == 0, signer.log.read_text()
    ledger = Ledger(auditor)
    assert Checkpoints(signer.checkpoints, signer.key).check(ledger).ok
    assert_consistent(ledger)
    ledger.close()


def test_signer_waits_for_the_database_and_then_signs(
    stack: ExitStack, application: Ledger, postgres_url: str, tmp_path: Path
) -> None:
    fill(application, 1)
    url = make_url(url_as("nightread_auditor", postgres_url))
    # The path of a socket has to be short.
    link = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="nightread-"))) / "link"
    away = url.set(query={**url.query, "host": str(link)}).render_as_string(hide_password=False)
    signer = start(stack, tmp_path / "signer", away)
    wait_for(lambda: OUT_OF_REACH in signer.log.read_text(), signer.log.read_text)
    link.symlink_to(str(url.query["host"]))
    wait_for(lambda: signer.lines() == 1, signer.log.read_text)
    assert signer.stop() == 0


def test_outage_is_one_warning_a_minute(stack: ExitStack, tmp_path: Path) -> None:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    started = time.monotonic()
    signer = start(stack, tmp_path / "signer", f"postgresql://db@127.0.0.1:{server.getsockname()[1]}/db")
    for _ in range(4):
        server.accept()[0].close()
    wait_for(lambda: signer.warnings() > 0, signer.log.read_text)
    assert signer.warnings() <= 1 + (time.monotonic() - started) // 60, signer.log.read_text()
    assert "Traceback" not in signer.log.read_text()
    assert signer.stop() == 0


def test_signer_stops_while_the_database_does_not_answer(stack: ExitStack, tmp_path: Path) -> None:
    server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    url = f"postgresql://db@127.0.0.1:{server.getsockname()[1]}/db?connect_timeout=86400"
    signer = start(stack, tmp_path / "signer", url)
    connection, _ = server.accept()
    with connection:
        assert signer.stop() == 0
    assert "Traceback" not in signer.log.read_text()


def test_signer_waits_for_the_upgrade_of_the_schema(
    stack: ExitStack, postgres_url: str, tmp_path: Path
) -> None:
    url = Settings(database_url=postgres_url).database
    signer = start(stack, tmp_path / "signer", url)
    wait_for(lambda: "The database is not up to date" in signer.log.read_text(), signer.log.read_text)
    ledger = Ledger(url)
    schema.upgrade(ledger)
    fill(ledger, 1)
    wait_for(lambda: signer.lines() > 0, signer.log.read_text)
    ledger.close()
    assert signer.stop() == 0
