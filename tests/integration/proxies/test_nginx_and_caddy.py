"""Nightread behind the nginx and the Caddy of packaging/: TLS, addresses, hosts, sizes, ambiguous requests."""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import HANG_S, wait_for
from tests.integration.proxies.running import NAME, PROXIES, Proxy, everything
from tests.integration.webui.test_connections import Site, running
from tests.signing_in import person, session_key
from webui.access.identity import COOKIE
from worker.ledger import actors, sign_ins
from worker.ledger.session import ledger_time
from worker.ledger.tables import BrowserSession, User

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server behind one proxy on its machine."""
    with running(tmp_path_factory.mktemp("site"), proxy_hops=1, allowed_hosts=NAME) as made:
        yield made


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, site: Site, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Each proxy in turn, in front of the server."""
    with PROXIES[request.param](tmp_path_factory.mktemp(request.param), site.port) as made:
        yield made


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def test_pages_come_with_tls_only(proxy: Proxy) -> None:
    answer = proxy.ask("GET /healthz")
    assert status(answer) == 200
    assert b"\r\nstrict-transport-security: max-age=63072000; includesubdomains\r\n" in answer.lower()
    plain = proxy.ask("GET /review?run=a", tls=False)
    assert status(plain) == 308
    assert f"\r\nlocation: https://{NAME}/review?run=a\r\n".encode() in plain.lower()
    assert status(proxy.ask("GET /api/v1/queue", tls=False)) == 403


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example"])
def test_foreign_host_name_gets_no_page(proxy: Proxy, host: str) -> None:
    answer = proxy.ask(
        "GET /healthz", f"Host: {host}", f"X-Forwarded-Host: {NAME}", f"Forwarded: host={NAME}"
    )
    # Caddy has nothing for other hosts, and says so with an empty answer.
    assert status(answer) in {400, 421} or answer.endswith(b"\r\n\r\n")


def test_page_may_change_data_and_foreign_pages_may_not(proxy: Proxy) -> None:
    def post(origin: str) -> int:
        return status(proxy.ask("POST /api/v1/undo", f"Origin: {origin}", "Content-Length: 0"))

    assert post(f"https://{NAME}") != 403
    assert post(f"http://{NAME}") == post("https://evil.example") == 403


@pytest.mark.parametrize(
    ("path", "length", "sentence"),
    [
        ("/review/undo", 100_000, b"the limit is 64 KB"),
        ("/upload", 900_000_000, b"the limit is 538 MB"),
    ],
)
def test_too_large_request_gets_the_sentence_of_nightread(
    proxy: Proxy, path: str, length: int, sentence: bytes
) -> None:
    answer = proxy.ask(f"POST {path}", f"Origin: https://{NAME}", f"Content-Length: {length}")
    assert status(answer) == 413
    assert sentence in answer


def upload_of(size: int) -> tuple[bytes, bytes]:
    """Return the lines before and after the content of a file of this size, of which nothing can be scored."""
    before = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\n\r\n'
    return before, bytes(size) + b"\r\n--x--\r\n"


def test_large_upload_arrives_while_it_is_sent(proxy: Proxy, site: Site) -> None:
    before, rest = upload_of(60_000_000)
    length = len(before) + len(rest)
    signed_in = cookie_of(site)
    head = (
        f"POST /api/v1/images HTTP/1.1\r\nHost: {NAME}\r\nOrigin: https://{NAME}\r\nCookie: {signed_in}\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )
    incoming = site.night.settings.incoming
    with proxy.connect() as connection:
        connection.sendall(head.encode() + before + rest[:50_000_000])
        wait_for(lambda: bytes_open_in(site, incoming) > 40_000_000, "most of the upload")
        connection.sendall(rest[50_000_000:])
        assert b'"state":"rejected"' in everything(connection)
    assert sum(path.stat().st_size for path in proxy.folder.rglob("temporary/**/*") if path.is_file()) == 0


def bytes_open_in(site: Site, folder: Path) -> int:
    """Return the bytes of the files without a name that the server has open in a folder."""
    sizes = []
    for handle in Path(f"/proc/{site.process.pid}/fd").iterdir():
        with suppress(OSError):
            if handle.readlink().is_relative_to(folder):
                sizes.append(handle.stat().st_size)
    return sum(sizes)


def cookie_of(site: Site) -> str:
    """Return the cookie of somebody who is signed in over TLS."""
    return f"__Host-{COOKIE}={session_key(site.night.ledger, 'Ada')}"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the address 127.0.0.9")
def test_proxy_names_the_client_whatever_it_claims(proxy: Proxy, site: Site) -> None:
    user_id = person(site.night.ledger, "Ada")
    with site.night.ledger.transaction() as session:
        user, at = session.get_one(User, user_id), ledger_time(session)
        key = sign_ins.make_link(session, user, actor=actors.PROGRAM, at=at)
    claims = (
        "X-Forwarded-For: 6.6.6.6",
        "X-Real-IP: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Forwarded-Proto: http",
    )
    answer = proxy.ask(f"GET /sign-in/{key}", "Sec-Fetch-Site: none", *claims, source="127.0.0.9")
    assert status(answer) == 303
    assert f"set-cookie: __host-{COOKIE}=".encode() in answer.lower()
    with site.night.ledger.reading() as session:
        newest = session.scalars(select(BrowserSession).order_by(BrowserSession.id.desc())).first()
        assert newest is not None
        assert newest.address == "127.0.0.9"
    assert key not in "".join(path.read_text() for path in proxy.folder.glob("*.log"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_tls_is_refused(proxy: Proxy, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=proxy.folder / "cert.pem")
    # OpenSSL itself refuses these versions at its default level.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion"):
        context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", proxy.port), timeout=HANG_S) as plain,
        pytest.raises(ssl.SSLError, match=r"(?i)version|alert"),
    ):
        context.wrap_socket(plain, server_hostname=NAME)


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: night.example\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def _ambiguous(*headers: bytes, body: bytes) -> bytes:
    return b"POST /nosuch HTTP/1.1\r\nHost: night.example\r\n" + b"".join(headers) + b"\r\n" + body


AMBIGUOUS = {
    "length and chunks": _ambiguous(b"Content-Length: 5\r\n", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": _ambiguous(
        CHUNKED, b"Content-Length: %d\r\n" % (len(SMUGGLED) + 5), body=b"0\r\n\r\n" + SMUGGLED
    ),
    "two lengths": _ambiguous(b"Content-Length: 0\r\nContent-Length: %d\r\n" % len(SMUGGLED), body=SMUGGLED),
    "unknown coding": _ambiguous(b"Transfer-Encoding: xchunked\r\nContent-Length: 0\r\n", body=SMUGGLED),
    "two codings": _ambiguous(CHUNKED, b"Transfer-Encoding: x\r\nContent-Length: 0\r\n", body=SMUGGLED),
    "space before the colon": _ambiguous(
        b"Transfer-Encoding : chunked\r\nContent-Length: 0\r\n", body=SMUGGLED
    ),
    "vertical tab": _ambiguous(b"Transfer-Encoding: \x0bchunked\r\nContent-Length: 0\r\n", body=SMUGGLED),
    "underscore": _ambiguous(b"Content_Length: 5\r\nContent-Length: 0\r\n", body=SMUGGLED),
    "bare line feed in a chunk": _ambiguous(CHUNKED, body=b"2\r\nab\n0\r\n\r\n" + SMUGGLED),
    "long chunk size": _ambiguous(CHUNKED, body=b"f" * 17 + b"\r\n" + SMUGGLED),
}


@pytest.mark.parametrize("attack", AMBIGUOUS)
def test_ambiguous_request_moves_nobodys_answer(proxy: Proxy, attack: str) -> None:
    """If Nightread saw two requests where the proxy saw one, the next client would get the answer to the second."""
    with proxy.connect() as connection:
        connection.sendall(
            AMBIGUOUS[attack] + b"GET /healthz HTTP/1.1\r\nHost: night.example\r\nConnection: close\r\n\r\n"
        )
        everything(connection)
    assert {status(proxy.ask("GET /healthz")) for _ in range(3)} == {200}
