"""`nightread web` as a real process: start, heartbeats, stop, and settings that it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.conftest import HANG_S, free_port, wait_for
from tests.integration.webui.night import Night, open_night
from tests.signing_in import ready_administrator
from webui.server import PROCESS
from worker.config import Settings
from worker.heartbeat import Heartbeat
from worker.ledger.heartbeats import ProcessStatus, process_statuses
from worker.ledger.session import Ledger, utc_now

pytestmark = pytest.mark.slow

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - the tests expect a refusal
COMMAND = [sys.executable, "-m", "worker.cli", "web"]


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Night]:
    """An empty ledger, and settings with a short heartbeat."""
    made = open_night(tmp_path / "data", heartbeat_s=0.2, port=free_port())
    yield made
    made.ledger.close()


def environment(settings: Settings) -> Mapping[str, str]:
    given = settings.model_dump(mode="json", include=settings.model_fields_set)
    return {**os.environ, **{f"NIGHTREAD_{name.upper()}": str(value) for name, value in given.items()}}


def process_status_rows(night: Night) -> list[ProcessStatus]:
    with night.ledger.reading() as session:
        return list(process_statuses(session, utc_now()))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def test_server_answers_sends_heartbeats_and_stops(empty: Night) -> None:
    url = f"http://127.0.0.1:{empty.settings.port}"
    with subprocess.Popen(
        COMMAND, env=environment(empty.settings), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: answers(f"{url}/readyz"), "the page")
        wait_for(lambda: [row.name for row in process_status_rows(empty) if row.ok] == ["web"], "a heartbeat")
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=HANG_S)
    assert process.returncode == 0
    assert process_status_rows(empty) == []
    assert "Traceback" not in stderr
    assert "GET /readyz" not in stderr


def run_web(arguments: list[str], settings: Settings) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    return done.returncode, done.stderr


def test_server_refuses_an_address_that_others_reach(empty: Night) -> None:
    status, stderr = run_web(["--host", EVERY_ADDRESS], empty.settings)
    assert status == 2
    assert stderr.startswith("NIGHTREAD_HOST: other machines can reach the address 0.0.0.0.")


def test_server_is_reached_when_an_administrator_can_sign_in(empty: Night) -> None:
    remote = {"allow_plain_http": True, "allowed_hosts": "page", "host": EVERY_ADDRESS}
    settings = empty.settings.model_copy(update=remote)
    settings.model_fields_set.update(remote)
    status, stderr = run_web([], settings)
    assert status == 2
    assert "No administrator can sign in there without a link." in stderr
    ready_administrator(empty.ledger)
    with subprocess.Popen(COMMAND, env=environment(settings), stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: answers(f"http://127.0.0.1:{settings.port}/healthz"), "the page")
        process.terminate()
        _, stderr = process.communicate(timeout=HANG_S)
    assert "WITHOUT TLS" in stderr
    assert process.returncode == 0


def test_outdated_database_stops_the_server(tmp_path: Path) -> None:
    status, stderr = run_web([], Settings(data=tmp_path / "new", port=free_port()))
    assert status == 1
    assert "nightread db upgrade" in stderr


def test_invalid_port_is_wrong_use(empty: Night) -> None:
    status, stderr = run_web(["--port", "70000"], empty.settings)
    assert status == 2
    assert stderr.startswith("NIGHTREAD_PORT: ")


def test_heartbeat_survives_a_missing_database(empty: Night) -> None:
    ledger = Ledger(empty.settings.database)
    with ledger.reading() as session:
        assert session.scalar(text("SELECT 1")) == 1, "the engine exists, and so does the folder"
    for opened in (ledger, empty.ledger):
        opened.close()
    # The folder moves in one step: a file that is written anew could be opened half written.
    away = empty.settings.data.with_name("away")
    empty.settings.data.rename(away)
    impatient = empty.settings.model_copy(update={"heartbeat_s": 0.02})
    with Heartbeat(impatient, ledger, PROCESS):
        threading.Event().wait(0.2)
        assert not empty.settings.data.exists()
        away.rename(empty.settings.data)
        wait_for(lambda: [row.name for row in process_status_rows(empty)] == ["web"], "a heartbeat")
    assert process_status_rows(empty) == []


def test_web_interface_loads_no_network(tmp_path: Path) -> None:
    program = (
        "import sys, webui, webui.cli, webui.server; from worker.config import Settings;"
        f"webui.create_app(Settings(data={str(tmp_path)!r}));"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'tensorflow', 'keras', 'ai_edge_litert', 'jax', 'training'}),"
        " [name for name in sys.modules if name.startswith('worker.inference')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
