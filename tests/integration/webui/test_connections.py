"""Slow, silent and large requests to a real server: nobody keeps others from their answer."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psutil
import pytest

from tests.conftest import HANG_S, free_port, wait_for
from tests.files import distinct, jpeg
from tests.integration.webui.night import Night, open_night
from tests.signing_in import ready_administrator, session_key
from webui.connections import (
    BODY_S,
    CONNECTIONS_OF_AN_ADDRESS,
    HEADER_S,
    LEAST_BYTES_PER_S,
    Connection,
    Request,
)
from webui.spool import Refused, Spool

pytestmark = pytest.mark.slow

PART = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
# `Site.signed` puts the key of a session in place of KEY.
UPLOAD = (
    b"POST /api/v1/images HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n"
    b"Cookie: nightread_session=KEY\r\n"
)
MULTIPART = b"Content-Type: multipart/form-data; boundary=x\r\n"


class Site:
    """A server in a process of its own."""

    def __init__(self, night: Night, process: subprocess.Popen[bytes]) -> None:
        self.night, self.process = night, process
        self.port = night.settings.port
        self.key = session_key(night.ledger, "Ada").encode()

    def connect(self, data: bytes = b"") -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=HANG_S)
        connection.sendall(self.signed(data))
        return connection

    def signed(self, data: bytes) -> bytes:
        return data.replace(b"KEY", self.key)

    def answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


@contextmanager
def running(folder: Path, **settings: object) -> Iterator[Site]:
    night = open_night(folder / "data", port=free_port(), **settings)
    ready_administrator(night.ledger)
    given = night.settings.model_dump(mode="json", include=night.settings.model_fields_set)
    environment = {**os.environ, **{f"NIGHTREAD_{name.upper()}": str(value) for name, value in given.items()}}
    with subprocess.Popen([sys.executable, "-m", "worker.cli", "web"], env=environment) as process:
        try:
            site = Site(night, process)
            wait_for(lambda: process.poll() is not None or site.answers(), "the page")
            assert process.poll() is None
            yield site
        finally:
            process.terminate()
            process.wait(HANG_S)
            night.ledger.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server that the tests share."""
    with running(tmp_path_factory.mktemp("site")) as made:
        yield made


def answer(connection: socket.socket) -> bytes:
    """Return everything until the server closes the connection."""
    parts = []
    while part := connection.recv(65_536):
        parts.append(part)
    return b"".join(parts)


def upload(body: bytes, *, headers: bytes = b"") -> bytes:
    length = b"" if headers else b"Content-Length: %d\r\n" % len(body)
    return UPLOAD + MULTIPART + headers + length + b"Connection: close\r\n\r\n" + body


@pytest.mark.parametrize(
    ("first", "number"),
    [
        (b"", 300),
        (b"GE", 40),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ", 40),
        (UPLOAD + MULTIPART + b"Content-Length: 50000000\r\n\r\n" + PART, 40),
        (UPLOAD + MULTIPART + b"Transfer-Encoding: chunked\r\n\r\n", 40),
        (b"POST /nosuch HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20000\r\n\r\nx", 40),
    ],
    ids=["silent", "half a line", "half the headers", "half a body", "chunked", "unread body"],
)
def test_slow_clients_keep_nobody_waiting(site: Site, first: bytes, number: int) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(site.connect(first)) for _ in range(number)]
        assert site.answers()
        for connection in slow:
            try:
                connection.sendall(b"x")
            except OSError:
                # The server closed it to make room.
                continue
        assert site.answers()


def test_many_clients_at_once_all_get_their_answer(site: Site) -> None:
    with ExitStack() as stack:
        clients = [stack.enter_context(site.connect()) for _ in range(3 * CONNECTIONS_OF_AN_ADDRESS)]
        for number, client in enumerate(clients):
            client.sendall(site.signed(upload(PART + distinct(jpeg(), number) + b"\r\n--x--\r\n")))
        assert [b'"outcome":"new"' in answer(client) for client in clients] == [True] * len(clients)


def test_headers_that_do_not_end_are_answered(site: Site) -> None:
    with site.connect(b"GET / HTTP/1.1\r\nHost: localhost\r\n") as connection:
        said = answer(connection)
    assert said.split(b" ")[1] == b"408"
    assert b"took too long" in said


def test_reader_of_an_answer_who_stops_takes_no_thread(site: Site) -> None:
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(
                site.connect(b"GET /static/nightread.css HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            )
        assert site.answers()


@pytest.fixture
def request_under_way(tmp_path: Path) -> Callable[[float, int], Request]:
    """A request whose body began so many seconds before time 0, with so many bytes so far."""
    night = open_night(tmp_path / "data")
    night.ledger.close()

    server = SimpleNamespace(spool=Spool(night.settings, lambda: 10**12))

    def make(age_s: float, received: int) -> Request:
        made = Request(None, cast("Connection", SimpleNamespace(server=server)))
        made.headers_finished = True
        made.body_began, made.body_bytes_received = -age_s, received
        return made

    return make


def test_client_of_a_proxy_with_too_many_requests_gets_a_sentence() -> None:
    full = SimpleNamespace(server=SimpleNamespace(make_room=lambda _: False))
    with pytest.raises(Refused, match="Too many requests at once") as refused:
        Connection.admit(cast("Connection", full))
    assert refused.value.code == 503


def test_upload_over_a_slow_line_is_given_its_time(
    request_under_way: Callable[[float, int], Request],
) -> None:
    hour_s = 3600.0
    assert not request_under_way(hour_s, round(hour_s * LEAST_BYTES_PER_S)).is_late(0)
    assert request_under_way(hour_s, round(hour_s * LEAST_BYTES_PER_S / 2)).is_late(0)
    assert not request_under_way(BODY_S - 1, 0).is_late(0)
    assert request_under_way(BODY_S + 1, 100).is_late(0)


def test_headers_have_one_deadline_however_they_drip(
    request_under_way: Callable[[float, int], Request],
) -> None:
    request = request_under_way(0, 0)
    request.headers_finished = False
    assert not request.is_late(request.began + HEADER_S - 1)
    assert request.is_late(request.began + HEADER_S + 1)


def test_chunked_upload_and_expectation_are_understood(site: Site) -> None:
    body = PART + jpeg() + b"\r\n--x--\r\n"
    chunks = b"".join(
        b"%x\r\n%s\r\n" % (len(body[i : i + 99]), body[i : i + 99]) for i in range(0, len(body), 99)
    )
    with site.connect(upload(chunks + b"0\r\n\r\n", headers=b"Transfer-Encoding: chunked\r\n")) as connection:
        assert b'"outcome":"new"' in answer(connection)
    head = upload(body).replace(body, b"").replace(b"Connection", b"Expect: 100-continue\r\nConnection")
    with site.connect(head) as connection:
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert b'"outcome":"duplicate"' in answer(connection)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        (b"POST /reader HTTP/1.1\r\nContent-Length: 100000\r\n", 413),
        (UPLOAD + b"Content-Length: 99000000000\r\n", 413),
        (b"GET / HTTP/1.1\r\nX-A: " + b"a" * 40_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nbad header\r\n", 400),
        (b"POST /api/v1/undo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n", 501),
    ],
    ids=["form", "upload", "headers", "syntax", "encoding"],
)
def test_refusal_before_the_application_has_a_sentence(site: Site, head: bytes, code: int) -> None:
    with site.connect(head + b"\r\n") as connection:
        said = answer(connection)
    headers, _, body = said.partition(b"\r\n\r\n")
    assert headers.split(b" ")[1] == b"%d" % code
    assert b"nosniff" in headers
    sentence = json.loads(body)["error"] if b"application/json" in headers else body.decode()
    assert sentence.endswith(".")
    assert ("the limit is" in sentence) is (code == 413)
    assert "waitress" not in said.decode()


def test_full_disk_refuses_a_body_before_it_arrives(tmp_path: Path) -> None:
    with (
        running(tmp_path, min_free_bytes=10**18) as site,
        site.connect(
            upload(b"")[:-2].replace(b"Content-Length: 0", b"Content-Length: 5000000") + b"\r\n"
        ) as connection,
    ):
        said = answer(connection)
    assert said.split(b" ")[1] == b"507"
    assert b"nearly full" in said


def test_large_uploads_are_not_held_in_memory(site: Site) -> None:
    body = PART + bytes(60_000_000) + b"\r\n--x--\r\n"
    memory = psutil.Process(site.process.pid).memory_info
    before = memory().rss
    with ExitStack() as stack:
        slow = [stack.enter_context(site.connect(upload(body)[:-20])) for _ in range(4)]
        assert memory().rss - before < 60_000_000
        for connection in slow:
            connection.sendall(body[-20:])
        assert [b'"outcome"' in answer(connection) for connection in slow] == [True] * 4
        assert memory().rss - before < 60_000_000


def test_files_of_an_upload_are_not_open_all_at_once(tmp_path: Path) -> None:
    body = b"".join(PART + b"no image %d\r\n" % number for number in range(300)) + b"--x--\r\n"
    with running(tmp_path) as site, ExitStack() as stack:
        psutil.Process(site.process.pid).rlimit(psutil.RLIMIT_NOFILE, (256, 256))
        both = [stack.enter_context(site.connect(upload(body))) for _ in range(2)]
        assert [answer(connection).count(b'"outcome"') for connection in both] == [300, 300]


def test_server_may_open_as_many_files_as_the_system_allows(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
    try:
        with running(tmp_path) as site:
            assert psutil.Process(site.process.pid).rlimit(psutil.RLIMIT_NOFILE) == (limits[1], limits[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "X-Forwarded-Prefix", "X-Forwarded-Host"])
def test_forwarded_headers_change_no_address(site: Site, name: str) -> None:
    header = f"GET / HTTP/1.1\r\nHost: localhost\r\n{name}: evil.example\r\nConnection: close\r\n\r\n"
    with site.connect(header.encode()) as connection:
        said = answer(connection)
    assert b"Location: /sign-in?next=%2F\r\n" in said


def test_request_that_arrived_is_answered_before_the_server_stops(tmp_path: Path) -> None:
    with (
        running(tmp_path) as own,
        own.connect(upload(PART + jpeg(seed=9) + b"\r\n--x--\r\n")) as connection,
    ):
        wait_for(lambda: bool(list(own.night.settings.data.glob("store/*/*/*"))), "the upload")
        own.process.terminate()
        assert b'"outcome":"new"' in answer(connection)
        assert own.process.wait(HANG_S) == 0
