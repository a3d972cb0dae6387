"""`nightread web`: a real process that binds to this machine only, beats, and stops when asked."""

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

from tests.conftest import free_port, wait_for
from tests.integration.webui.night import Night, begin
from webui.server import PROCESS
from worker.config import Settings
from worker.heartbeat import Heartbeat
from worker.ledger.heartbeats import ProcessStatus as Sign
from worker.ledger.heartbeats import process_statuses
from worker.ledger.session import Ledger, utc_now

EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - that it is refused is what is tested
COMMAND = [sys.executable, "-m", "worker.cli", "web"]


@pytest.fixture
def quiet(tmp_path: Path) -> Iterator[Night]:
    """An empty ledger, and settings with a short heartbeat."""
    made = begin(tmp_path / "data", heartbeat_s=0.2, port=free_port())
    yield made
    made.ledger.close()


def environment(settings: Settings) -> Mapping[str, str]:
    given = settings.model_dump(mode="json", include=settings.model_fields_set)
    return {**os.environ, **{f"NIGHTREAD_{name.upper()}": str(value) for name, value in given.items()}}


def signs(night: Night) -> list[Sign]:
    with night.ledger.reading() as session:
        return list(process_statuses(session, utc_now()))


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False


def test_it_answers_beats_and_stops_cleanly(quiet: Night) -> None:
    url = f"http://127.0.0.1:{quiet.settings.port}"
    with subprocess.Popen(
        COMMAND, env=environment(quiet.settings), stderr=subprocess.PIPE, text=True
    ) as process:
        wait_for(lambda: answers(f"{url}/readyz"), 30, "the page")
        wait_for(lambda: [sign.name for sign in signs(quiet) if sign.ok] == ["web"], 10, "a heartbeat")
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert signs(quiet) == []
    assert "Traceback" not in said
    assert "GET /readyz" not in said


def refused(arguments: list[str], settings: Settings) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_it_refuses_to_be_reached_by_other_machines(quiet: Night) -> None:
    status, said = refused(["--host", EVERY_ADDRESS], quiet.settings)
    assert status == 2
    assert "no logins yet" in said


def test_when_it_is_told_to_it_warns_loudly(quiet: Night) -> None:
    remote = quiet.settings.model_copy(update={"allow_remote": True, "host": EVERY_ADDRESS})
    remote.model_fields_set.update({"allow_remote", "host"})
    with subprocess.Popen(COMMAND, env=environment(remote), stderr=subprocess.PIPE, text=True) as process:
        wait_for(lambda: answers(f"http://127.0.0.1:{remote.port}/healthz"), 30, "the page")
        process.terminate()
        _, said = process.communicate(timeout=20)
    assert "NO LOGINS" in said
    assert process.returncode == 0


def test_an_outdated_database_is_a_sentence(tmp_path: Path) -> None:
    status, said = refused([], Settings(data=tmp_path / "new", port=free_port()))
    assert status == 1
    assert "nightread db upgrade" in said


def test_a_port_that_is_none_is_wrong_use(quiet: Night) -> None:
    status, said = refused(["--port", "70000"], quiet.settings)
    assert status == 2
    assert said.startswith("NIGHTREAD_PORT: ")


def test_the_heartbeat_outlives_a_database_that_is_away(quiet: Night) -> None:
    database = quiet.settings.data / "nightread.sqlite3"
    quiet.ledger.close()
    kept = {path: path.read_bytes() for path in quiet.settings.data.glob("nightread.sqlite3*")}
    for path in kept:
        path.unlink()
    database.mkdir()
    impatient = quiet.settings.model_copy(update={"heartbeat_s": 0.02})
    with Heartbeat(impatient, Ledger(quiet.settings.database), PROCESS):
        threading.Event().wait(0.2)
        database.rmdir()
        for path, data in kept.items():
            path.write_bytes(data)
        wait_for(lambda: [sign.name for sign in signs(quiet)] == ["web"], 10, "a heartbeat")
    assert signs(quiet) == []


def test_the_page_never_loads_a_network(tmp_path: Path) -> None:
    program = (
        "import sys, webui, webui.cli, webui.server; from worker.config import Settings;"
        f"webui.create_app(Settings(data={str(tmp_path)!r}));"
        "print(sorted({name.split('.')[0] for name in sys.modules}"
        " & {'tensorflow', 'keras', 'ai_edge_litert', 'jax', 'training'}),"
        " [name for name in sys.modules if name.startswith('worker.inference')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"
