"""The web server: waitress in one process, which sends heartbeats to the ledger."""

from __future__ import annotations

import gc
import logging
import resource
import signal
import sys
import tempfile
import threading
import time
from contextlib import suppress
from typing import Any

from waitress.adjustments import Adjustments

from webui.app import create_app
from webui.connections import CONNECTIONS, Server
from webui.dependencies import EXTENSION, Dependencies
from webui.proxies import Proxies
from webui.spool import Spool
from worker.config import Settings
from worker.heartbeat import Heartbeat
from worker.ledger.session import Ledger

PROCESS = "web"
_THREADS = 8
_LONGEST_HEADER = 32 * 1024
# Threads never wait for a client that reads slowly: what is above this goes to the disk.
_ANSWER_IN_MEMORY = 1024**2
_FINISH_WITHIN_S = 8.0


def serve(settings: Settings) -> None:
    """Answer requests until SIGTERM or SIGINT. Raises OSError when the address cannot be used."""
    _may_open_all_files()
    app = create_app(settings)
    dependencies: Dependencies = app.extensions[EXTENSION]
    # Bodies are received to the disk whose free space is watched, not to /tmp, which may be memory.
    settings.incoming.mkdir(parents=True, exist_ok=True)
    tempfile.tempdir = str(settings.incoming)
    # It warns of each request that waits for a thread.
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)
    spool = Spool(settings, dependencies.acceptor.free_bytes)
    server = Server(app, spool, Proxies(settings), _options(settings))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: _stop(server, stop))
    # What exists by now stays. Without this, the collector looks through all of it during every tenth large page: 150 ms.
    gc.collect()
    gc.freeze()
    with Heartbeat(settings, Ledger(settings.database), PROCESS):
        _run(server, stop)


def _may_open_all_files() -> None:
    """Let this process open as many files as the system allows: a connection with a large body takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # macOS allows fewer than it says.
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _options(settings: Settings) -> Any:
    return Adjustments(
        host=f"[{settings.host}]" if ":" in settings.host else settings.host,
        port=settings.port,
        threads=_THREADS,
        ident="",
        connection_limit=CONNECTIONS + 16,
        max_request_header_size=_LONGEST_HEADER,
        # The spool has the limit of each path, and a sentence about it.
        max_request_body_size=sys.maxsize,
        outbuf_overflow=_ANSWER_IN_MEMORY,
        outbuf_high_watermark=1024**3,
        recv_bytes=256 * 1024,
        cleanup_interval=1,
        asyncore_loop_timeout=1,
        asyncore_use_poll=True,
        log_socket_errors=False,
        # `webui.proxies` does it.
        clear_untrusted_proxy_headers=False,
    )


def _stop(server: Server, stop: threading.Event) -> None:
    stop.set()
    server.pull_trigger()


def _run(server: Server, stop: threading.Event) -> None:
    """Run the loop until `stop` is set, then finish the requests that have arrived."""
    while not stop.is_set():
        server.turn()
    server.accepting = False
    until = time.monotonic() + _FINISH_WITHIN_S
    while server.is_busy and time.monotonic() < until:
        server.turn()
    server.task_dispatcher.shutdown(timeout=1)
