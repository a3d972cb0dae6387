"""Runs the proxies of packaging/ in front of a server: their own files, with other names of ports and paths."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import write_certificate
from tests.conftest import HANG_S, free_port, wait_for
from worker.config import ROOT

NAME = "night.example"
_PATH = os.environ.get("PATH", "") + ":/usr/sbin"


@dataclass(frozen=True)
class Proxy:
    """A running proxy."""

    port: int
    plain_port: int
    folder: Path

    def connect(self, *, tls: bool = True, source: str = "127.0.0.1", name: str = NAME) -> socket.socket:
        """Open a connection that verifies the certificate."""
        address = ("127.0.0.1", self.port if tls else self.plain_port)
        plain = socket.create_connection(address, timeout=HANG_S, source_address=(source, 0))
        if not tls:
            return plain
        return ssl.create_default_context(cafile=self.folder / "cert.pem").wrap_socket(
            plain, server_hostname=name
        )

    def ask(
        self, line: str, *headers: str, body: bytes = b"", tls: bool = True, source: str = "127.0.0.1"
    ) -> bytes:
        """Send a request and return everything that is answered."""
        given = (
            headers
            if any(header.lower().startswith("host:") for header in headers)
            else (f"Host: {NAME}", *headers)
        )
        head = "\r\n".join([f"{line} HTTP/1.1", *given, "Connection: close", "", ""])
        with self.connect(tls=tls, source=source) as connection:
            connection.sendall(head.encode() + body)
            return everything(connection)


def everything(connection: socket.socket) -> bytes:
    """Return what arrives until the other side closes the connection."""
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


@contextmanager
def nginx(folder: Path, upstream: int) -> Iterator[Proxy]:
    """Run nginx in front of a server at this port."""
    plain, port = free_port(), free_port()
    site = _adapted(
        "nginx.conf",
        {
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{upstream};",
            "listen 80;": f"listen 127.0.0.1:{plain};",
            "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
            "/etc/nginx/night.example.pem": str(folder / "cert.pem"),
            "/etc/nginx/night.example.key": str(folder / "key.pem"),
        },
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{kind}_temp_path {folder / 'temporary' / kind};\n" for kind in kinds)
    (folder / "temporary").mkdir()
    (folder / "main.conf").write_text(
        f"{'user root;' if os.getuid() == 0 else ''}\nworker_processes 1;\nerror_log stderr;\npid {folder / 'pid'};\n"
        f"events {{}}\nhttp {{\naccess_log {folder / 'access.log'};\n{temporary}{site}}}\n"
    )
    command = [_program("nginx"), "-c", str(folder / "main.conf"), "-g", "daemon off;", "-e", "stderr"]
    with _running(command, Proxy(port, plain, folder)) as proxy:
        yield proxy


@contextmanager
def caddy(folder: Path, upstream: int) -> Iterator[Proxy]:
    """Run Caddy in front of a server at this port."""
    plain, port = free_port(), free_port()
    site = _adapted(
        "Caddyfile",
        {
            "reverse_proxy 127.0.0.1:8000": f"reverse_proxy 127.0.0.1:{upstream}",
            "/etc/caddy/night.example.pem": str(folder / "cert.pem"),
            "/etc/caddy/night.example.key": str(folder / "key.pem"),
        },
    )
    ports = f"{{\n\tadmin off\n\thttp_port {plain}\n\thttps_port {port}\n\tdefault_bind 127.0.0.1\n}}\n"
    (folder / "Caddyfile").write_text(ports + site)
    command = [_program("caddy"), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    with _running(
        command, Proxy(port, plain, folder), XDG_DATA_HOME=str(folder), XDG_CONFIG_HOME=str(folder)
    ) as proxy:
        yield proxy


PROXIES: Mapping[str, Callable[[Path, int], AbstractContextManager[Proxy]]] = {"nginx": nginx, "caddy": caddy}


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    assert found is not None, f"run tests/install-proxies: {name} is not installed"
    return found


def _adapted(file: str, changes: Mapping[str, str]) -> str:
    """Return a file of packaging/ with other ports and paths."""
    text = (ROOT / "packaging" / file).read_text()
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


@contextmanager
def _running(command: list[str], proxy: Proxy, **variables: str) -> Iterator[Proxy]:
    write_certificate(proxy.folder, NAME)
    with subprocess.Popen(command, env={**os.environ, **variables}) as process:
        try:
            wait_for(lambda: process.poll() is not None or _answers(proxy), command[0])
            assert process.poll() is None
            yield proxy
        finally:
            process.terminate()
            process.wait(HANG_S)


def _answers(proxy: Proxy) -> bool:
    try:
        return b" 200 " in proxy.ask("GET /healthz")[:20]
    except OSError:
        return False
