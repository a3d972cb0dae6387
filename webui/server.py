"""The web server: gunicorn, run from here, with a heartbeat in the ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import BaseApplication

from webui.app import create_app
from worker.config import Settings
from worker.errors import TransientFailure
from worker.ledger import heartbeats
from worker.ledger.session import Ledger, utc_now

log = structlog.get_logger(__name__)

PROCESS = "web"
_THREADS = 8
_STOP_WITHIN_S = 8


class Heartbeat:
    """Says every few seconds that the page is there, and farewell at the end."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        """Beat for these settings once started."""
        self._period_s = settings.heartbeat_s
        self._ledger = ledger
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """Beat no more, and say farewell."""
        self._finished.set()
        self._thread.join()
        self._say(lambda session: heartbeats.farewell(session, PROCESS))

    def _run(self) -> None:
        while not self._finished.is_set():
            self._say(
                lambda session: heartbeats.beat(session, PROCESS, period_s=self._period_s, at=utc_now())
            )
            self._finished.wait(self._period_s)

    def _say(self, what: Callable[[Any], None]) -> None:
        try:
            with self._ledger.transaction() as session:
                what(session)
        except TransientFailure as failure:
            log.warning("the sign of life waits", error=str(failure))


class Server(BaseApplication):  # type: ignore[misc]
    """One worker process with threads: SQLite's one writer gains nothing from more of them.

    The application is built in the worker process, after the fork, so that no connection
    and no thread is shared with the process that watches over it.
    """

    def __init__(self, settings: Settings) -> None:
        """Serve with these settings once `run` is called."""
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options; neither its command line nor its own file is read."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        options: dict[str, object] = {
            "bind": f"{host}:{self._settings.port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": _THREADS,
            "preload_app": False,
            "graceful_timeout": _STOP_WITHIN_S,
            "keepalive": 15,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "nightread-web",
            "post_worker_init": _begin,
            "worker_exit": _end,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Build the application, and the heartbeat that `post_worker_init` starts."""
        app = create_app(self._settings)
        app.extensions[Heartbeat.__name__] = Heartbeat(self._settings, Ledger(self._settings.database))
        return app


def _begin(worker: Any) -> None:
    worker.wsgi.extensions[Heartbeat.__name__].start()


def _end(_server: object, worker: Any) -> None:
    if worker.wsgi is not None:
        worker.wsgi.extensions[Heartbeat.__name__].stop()
