"""Which host a request is for, asked of a real server: absolute addresses, proxies, IPv4 and IPv6."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from select import select

import pytest

from tests.conftest import HANG_S, wait_for
from tests.integration.webui.test_connections import Site, answer, running
from worker.config import Settings

pytestmark = pytest.mark.slow

CLIENT, PROXY = "127.0.0.1", "127.0.0.2"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server behind a proxy, which listens on every address."""
    settings = {
        "host": "::",
        "allowed_hosts": "page.example",
        "proxy_hops": 1,
        "proxy_addresses": PROXY,
    }
    with running(tmp_path_factory.mktemp("site"), **settings) as made:
        yield made


def ask(site: Site, line: str, *headers: str, source: str = CLIENT) -> tuple[int, bytes]:
    """Send a request and return the status code and the whole answer."""
    request = "\r\n".join([f"{line} HTTP/1.1", *headers, "Connection: close", "", ""])
    address = ("127.0.0.1", site.port)
    with socket.create_connection(address, timeout=HANG_S, source_address=(source, 0)) as connection:
        connection.sendall(request.encode())
        said = answer(connection)
    return int(said.split(b" ")[1]), said


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_every_address_is_ipv4_and_ipv6(site: Site, host: str) -> None:
    with urllib.request.urlopen(f"http://{host}:{site.port}/healthz", timeout=HANG_S) as health:
        assert health.status == 200


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://evil.example/healthz", "localhost", 400),
        ("https://evil.example:443/healthz", "localhost", 400),
        ("HTTP://localhost@evil.example/healthz", "localhost", 400),
        ("http://evil.example@localhost/healthz", "localhost", 400),
        ("http:///healthz", "localhost", 400),
        ("http:/healthz", "localhost", 400),
        ("evil.example:80", "localhost", 400),
        ("http://localhost:9999/healthz", "evil.example", 200),
        ("http://page.example/healthz", "evil.example", 200),
        ("/healthz", "evil.example@localhost", 400),
        ("/healthz", "localhost", 200),
    ],
)
def test_host_of_an_absolute_address_counts(site: Site, target: str, host: str, status: int) -> None:
    assert ask(site, f"GET {target}", f"Host: {host}")[0] == status


def test_absolute_address_of_another_site_changes_nothing(site: Site) -> None:
    """Its page would be of the same origin, if only `Host` counted."""
    evil = "http://evil.example"
    assert ask(site, f"POST {evil}/api/v1/undo", "Host: localhost", f"Origin: {evil}")[0] == 400


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize(
    ("source", "headers", "status"),
    [
        (source, headers, status)
        for source in (CLIENT, PROXY)
        for headers, status in (
            (["Host: page.example", "X-Forwarded-Host: evil.example"], 200),
            (["Host: evil.example", "X-Forwarded-Host: page.example"], 400),
            (["Host: evil.example", "Forwarded: host=page.example"], 400),
            (["Host: evil.example", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https"], 400),
            (["Host: localhost", "Forwarded: host=evil.example"], 200),
            (["Host: localhost", "X-Forwarded-Proto: javascript"], 200),
            (["Host: localhost", "X-Forwarded-For: 10.0.0.1, evil", "X-Forwarded-Port: 1"], 200),
        )
    ],
)
def test_no_forwarded_header_changes_the_host(
    site: Site, source: str, headers: Sequence[str], status: int
) -> None:
    assert ask(site, "GET /healthz", *headers, source=source)[0] == status


HTTPS = "X-Forwarded-Proto: https"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize(
    ("source", "headers", "is_secure"),
    [
        (PROXY, [HTTPS], True),
        (PROXY, ["X-Forwarded-Proto: http, https"], True),
        (PROXY, ["X-Forwarded-Proto: https, http"], False),
        (PROXY, [], False),
        (CLIENT, [HTTPS], False),
        (CLIENT, [HTTPS, f"X-Forwarded-For: {PROXY}"], False),
    ],
)
def test_only_the_proxy_says_that_tls_is_used(
    site: Site, source: str, headers: Sequence[str], is_secure: bool
) -> None:
    _, said = ask(site, "GET /healthz", "Host: page.example", *headers, source=source)
    assert (b"\r\nStrict-Transport-Security: max-age=63072000; includeSubDomains\r\n" in said) is is_secure


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
def test_tls_of_localhost_keeps_other_programs_reachable(site: Site) -> None:
    assert b"Strict-Transport-Security" not in ask(site, "GET /", "Host: localhost", HTTPS, source=PROXY)[1]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize(
    ("origin", "refused"),
    [("https://page.example", False), ("http://page.example", True), ("https://inner", True)],
)
def test_page_behind_the_proxy_may_change_data(site: Site, origin: str, refused: bool) -> None:
    headers = ["Host: page.example", HTTPS, f"Origin: {origin}"]
    assert (ask(site, "POST /api/v1/undo", *headers, source=PROXY)[0] == 403) is refused


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize("source", [CLIENT, PROXY])
@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "X-Forwarded-Prefix", "X-Script-Name"])
def test_no_header_changes_the_path_of_links(site: Site, source: str, name: str) -> None:
    status, said = ask(site, "GET /", "Host: localhost", f"{name}: /evil", source=source)
    assert (status, b"Location: /sign-in?next=%2F\r\n" in said) == (303, True)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
def test_connections_of_a_proxy_count_for_its_clients(site: Site) -> None:
    """One client holds more than it may have; another one, which was silent for longer, loses nothing."""

    def unfinished(client: str, number: int) -> list[socket.socket]:
        head = f"POST /nosuch HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: {client}\r\nContent-Length: 2\r\n\r\n1"
        made = []
        for _ in range(number):
            made.append(socket.create_connection(("127.0.0.1", site.port), HANG_S, source_address=(PROXY, 0)))
            stack.enter_context(made[-1]).sendall(head.encode())
        return made

    with ExitStack() as stack:
        patient = unfinished("10.0.0.1", 20)
        greedy = unfinished("10.0.0.2", 300)
        wait_for(lambda: any(select(greedy, [], [], 0)), "a connection that was closed to make room")
        for connection in patient:
            connection.sendall(b"2")
        assert {connection.recv(12) for connection in patient} == {b"HTTP/1.1 404"}


@pytest.mark.parametrize(
    ("given", "kept"), [("[::]", "::"), ("0:0:0:0:0:0:0:1", "::1"), ("localhost", "localhost")]
)
def test_an_address_has_one_spelling(given: str, kept: str) -> None:
    assert Settings(host=given).host == kept
