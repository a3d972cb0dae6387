"""The web server: gunicorn with one worker process, which sends heartbeats to the ledger."""

from __future__ import annotations

from typing import Any

from flask import Flask
from gunicorn.app.base import BaseApplication

from webui.app import create_app
from worker.config import Settings
from worker.heartbeat import Heartbeat
from worker.ledger.session import Ledger

PROCESS = "web"
_THREADS = 8
_GRACEFUL_TIMEOUT_S = 8


class Server(BaseApplication):  # type: ignore[misc]
    """Gunicorn with one worker process of several threads.

    More processes would gain nothing, since SQLite has one writer at a time. The application is built in
    the worker process, after the fork, so that it shares no connection and no thread with gunicorn's master
    process.
    """

    def __init__(self, settings: Settings) -> None:
        """Prepare to serve; `run` starts the server."""
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Set gunicorn's options. Gunicorn's own command line and configuration file are not read."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        options: dict[str, object] = {
            "bind": f"{host}:{self._settings.port}",
            "worker_class": "gthread",
            "workers": 1,
            "threads": _THREADS,
            "preload_app": False,
            "graceful_timeout": _GRACEFUL_TIMEOUT_S,
            "keepalive": 15,
            "loglevel": "warning",
            "control_socket_disable": True,
            "proc_name": "nightread-web",
            "post_worker_init": _start_heartbeat,
            "worker_exit": _stop_heartbeat,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Flask:
        """Build the application and the heartbeat that `post_worker_init` starts."""
        app = create_app(self._settings)
        app.extensions[Heartbeat.__name__] = Heartbeat(
            self._settings, Ledger(self._settings.database), PROCESS
        )
        return app


def _start_heartbeat(worker: Any) -> None:
    worker.wsgi.extensions[Heartbeat.__name__].__enter__()


def _stop_heartbeat(_server: object, worker: Any) -> None:
    if worker.wsgi is not None:
        worker.wsgi.extensions[Heartbeat.__name__].__exit__(None, None, None)
