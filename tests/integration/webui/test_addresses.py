"""Which host a request is for, asked of a real server: absolute addresses, proxies, IPv4 and IPv6."""

from __future__ import annotations

import socket
import sys
import urllib.request
from collections.abc import Iterator, Sequence

import pytest

from tests.conftest import HANG_S
from tests.integration.webui.test_connections import Site, answer, running
from worker.config import Settings

pytestmark = pytest.mark.slow

CLIENT, PROXY = "127.0.0.1", "127.0.0.2"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server behind a proxy, which listens on every address."""
    settings = {"host": "::", "allow_remote": True, "allowed_hosts": "page.example", "trusted_proxy": PROXY}
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
        (CLIENT, ["Host: localhost", "X-Forwarded-Host: evil.example"], 200),
        (CLIENT, ["Host: evil.example", "X-Forwarded-Host: page.example"], 400),
        (CLIENT, ["Host: localhost", "X-Forwarded-Proto: https, http"], 200),
        (CLIENT, ["Host: evil.example", "X-Forwarded-For: 127.0.0.2", "X-Forwarded-Host: page.example"], 400),
        (PROXY, ["Host: inner", "X-Forwarded-Host: page.example", "X-Forwarded-Proto: https"], 200),
        (PROXY, ["Host: localhost", "X-Forwarded-Host: evil.example"], 400),
        (PROXY, ["Host: evil.example"], 400),
        (PROXY, ["Host: inner", "X-Forwarded-Host: page.example, evil.example"], 400),
        (PROXY, ["Host: inner", "X-Forwarded-Host: page.example", "X-Forwarded-Host: evil.example"], 400),
        (PROXY, ["Host: inner", "X-Forwarded-Host: evil.example, page.example"], 200),
        (PROXY, ["Host: localhost", "Forwarded: host=evil.example"], 200),
        (PROXY, ["Host: evil.example", "Forwarded: host=page.example"], 400),
        (PROXY, ["Host: localhost", "X-Forwarded-Proto: https, http"], 400),
        (PROXY, ["Host: localhost", "X-Forwarded-For: 10.0.0.1, evil", "X-Forwarded-Port: 1"], 200),
    ],
)
def test_forwarded_headers_count_only_from_the_proxy(
    site: Site, source: str, headers: Sequence[str], status: int
) -> None:
    assert ask(site, "GET /healthz", *headers, source=source)[0] == status


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize(("origin", "refused"), [("https://page.example", False), ("https://inner", True)])
def test_page_behind_the_proxy_may_change_data(site: Site, origin: str, refused: bool) -> None:
    proxied = ["Host: inner", "X-Forwarded-Host: page.example", "X-Forwarded-Proto: https"]
    headers = [*proxied, f"Origin: {origin}", "X-Nightread-Reader: Ada"]
    assert (ask(site, "POST /api/v1/undo", *headers, source=PROXY)[0] == 403) is refused


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.2")
@pytest.mark.parametrize("source", [CLIENT, PROXY])
@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "X-Forwarded-Prefix", "X-Script-Name"])
def test_no_header_changes_the_path_of_links(site: Site, source: str, name: str) -> None:
    status, said = ask(site, "GET /", "Host: localhost", f"{name}: /evil", source=source)
    assert (status, b"Location: /review\r\n" in said) == (302, True)


@pytest.mark.parametrize(
    ("given", "kept"), [("[::]", "::"), ("0:0:0:0:0:0:0:1", "::1"), ("localhost", "localhost")]
)
def test_an_address_has_one_spelling(given: str, kept: str) -> None:
    assert Settings(host=given).host == kept
