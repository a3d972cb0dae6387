"""worker.supervisor: the pauses between restarts, the check of the address, and the way in that is announced."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from tests.conftest import HANG_S, free_port
from tests.ledgers import current_ledger
from worker.config import ROOT, Settings
from worker.ledger import actors, identities, sign_ins, users
from worker.ledger.roles import Role
from worker.ledger.session import utc_now
from worker.ledger.tables import User
from worker.supervisor import (
    CannotStart,
    _address,
    _check_ports,
    _Child,
    _Signals,
    _stop_within_s,
    _way_in,
    _web_answers,
)


def pause_after_an_end(child: _Child) -> float:
    """Let the supervisor notice that the process ended; the pause in seconds before it starts it again."""
    child.process = subprocess.Popen(["false"])
    child.process.wait()
    child.started = before = time.monotonic()
    with capture_logs() as entries:
        child.restart_if_ended({})
    assert child.process is None, "it was started again without a pause"
    pause_s: float = entries[0]["again_in_s"]
    assert before + pause_s <= child.next_start <= time.monotonic() + pause_s
    return pause_s


@pytest.mark.parametrize(
    ("longest_pause_s", "expected"), [(30.0, [1, 2, 4, 8, 16, 30, 30]), (0.5, [0.5, 0.5, 0.5])]
)
def test_restart_pause_doubles_up_to_the_setting(longest_pause_s: float, expected: list[float]) -> None:
    child = _Child("watch", longest_pause_s)
    assert [pause_after_an_end(child) for _ in expected] == expected


def test_restart_pause_is_short_again_after_a_steady_minute() -> None:
    child = _Child("watch", 30.0)
    assert [pause_after_an_end(child) for _ in range(3)] == [1, 2, 4]
    child.process = subprocess.Popen(["false"])
    child.process.wait()
    child.started = time.monotonic() - 61
    with capture_logs() as entries:
        child.restart_if_ended({})
    assert entries[0]["again_in_s"] == 1


@pytest.mark.parametrize(("status", "refused"), [(0, False), (1, False), (2, True)])
def test_exit_status_2_means_that_settings_were_refused(status: int, refused: bool) -> None:
    child = _Child("web", 30.0)
    child.process = subprocess.Popen(["sh", "-c", f"exit {status}"])
    child.process.wait()
    assert child.refused_its_settings() is refused


@pytest.fixture
def deaf() -> Iterator[_Child]:
    """A process that ignores SIGTERM, as a worker does during a slow image."""
    child = _Child("worker", 30.0, stop_within_s=HANG_S)
    command = ["sh", "-c", "trap '' TERM; echo; exec sleep 1000"]
    child.process = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True)
    assert child.process.stdout
    child.process.stdout.readline()
    yield child
    child.process.kill()
    child.process.wait()


def stopped(child: _Child, signals: _Signals) -> int:
    """Stop a process and return its status."""
    child.terminate()
    child.wait(signals)
    assert child.process
    status: int | None = child.process.poll()
    assert status is not None
    return status


def test_process_that_does_not_stop_in_its_time_is_killed(deaf: _Child) -> None:
    deaf.stop_within_s = 0.3
    with capture_logs() as entries:
        assert stopped(deaf, _Signals()) == -signal.SIGKILL
    assert [entry["event"] for entry in entries] == ["a process did not stop in time and is killed"]


def test_second_interrupt_kills_a_process_at_once(deaf: _Child) -> None:
    signals = _Signals()
    for number in (signal.SIGINT, signal.SIGINT, signal.SIGHUP):
        signals.take(number)
    assert (signals.stop.is_set(), signals.hurry) == (True, False)
    signals.since -= 2
    signals.take(signal.SIGHUP)
    assert not signals.hurry
    threading.Timer(0.3, signals.take, (signal.SIGINT,)).start()
    with capture_logs() as entries:
        assert stopped(deaf, signals) == -signal.SIGKILL
    assert [entry["event"] for entry in entries] == ["a process is killed, as asked"]


def test_worker_may_finish_its_image_before_it_is_killed() -> None:
    settings = Settings()
    assert _stop_within_s(settings, "worker") > settings.lease_s
    assert _stop_within_s(settings, "web") == 20
    service = (ROOT / "packaging" / "nightread.service").read_text()
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", service, re.MULTILINE)
    # The broker is stopped after the others.
    assert int(seconds) > _stop_within_s(settings, "worker") + _stop_within_s(settings, "broker")


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "0.0.0.0", "localhost"])  # noqa: S104
def test_port_in_use_is_noticed(host: str) -> None:
    family = socket.AF_INET6 if host == "::1" else socket.AF_INET
    with socket.socket(family) as other:
        other.bind(("::1" if host == "::1" else "127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotStart, match="cannot be used"):
            _check_ports(Settings(host=host, port=other.getsockname()[1]))


def test_port_of_the_receiver_in_use_is_noticed() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(CannotStart, match="Set NIGHTREAD_DICOM_PORT to another port"):
            _check_ports(Settings(port=free_port(), dicom_port=other.getsockname()[1]))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::", "0.0.0.0", "localhost"])  # noqa: S104
def test_free_port_is_accepted(host: str) -> None:
    _check_ports(Settings(host=host, port=free_port()))


def test_system_without_ipv6_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_such_family(*_: object) -> None:
        raise OSError(97, "Address family not supported by protocol")

    monkeypatch.setattr(socket, "socket", no_such_family)
    with pytest.raises(CannotStart, match="NIGHTREAD_HOST to another address"):
        _check_ports(Settings(host="::"))


@pytest.mark.parametrize(
    ("host", "address"),
    [("::", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "[::1]"), ("10.1.2.3", "10.1.2.3")],  # noqa: S104
)
def test_page_is_announced_under_an_address_that_answers(host: str, address: str) -> None:
    assert _address(Settings(host=host, port=8000)) == f"http://{address}:8000"


class _Ready(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_page_is_asked_directly_whatever_proxy_leads_out_of_the_hospital(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    with HTTPServer(("127.0.0.1", 0), _Ready) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert _web_answers(Settings(port=server.server_port))
        server.shutdown()


@pytest.mark.parametrize("kept", ["disabled", "demoted"])
def test_start_without_an_administrator_says_what_to_do(tmp_path: Path, kept: str) -> None:
    """Somebody of the sign-in service was administrator, kept the first account out, and then lost the role."""
    settings = Settings(data=tmp_path)
    ledger = current_ledger(settings.database)
    assert "/sign-in/" in _way_in(settings, ledger)

    def arrive(*roles: Role) -> User:
        limits = settings.session_limits
        found = identities.arrive(
            session, "https://idp", "bob", names=("Bob",), roles=set(roles), limits=limits, at=utc_now()
        )
        assert found is not None
        return found

    with ledger.transaction() as session:
        (first,) = users.enabled_with(session, Role.ADMINISTRATOR)
        who = actors.user(arrive(Role.ADMINISTRATOR).id)
        if kept == "disabled":
            sign_ins.keep_out(session, first, settings.session_limits, actor=who, at=utc_now())
        else:
            users.set_roles(session, first, {Role.READER}, actor=who, at=utc_now())
        arrive(Role.READER)
    way_in = _way_in(settings, ledger)
    assert "/sign-in/" not in way_in
    assert "no administrator is left: run `nightread users add NAME --role administrator`" in way_in
    with ledger.transaction() as session:
        ada = users.add(session, "Ada", {Role.ADMINISTRATOR}, actor="os:0", at=utc_now())
        assert users.first_administrator(session, utc_now()) is ada
    assert "/sign-in/" in _way_in(settings, ledger)
    ledger.close()
