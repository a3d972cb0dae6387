"""What the pages work with, built once an application and handed to each request."""

from __future__ import annotations

from functools import cached_property
from typing import cast

from flask import current_app

from webui.status_cache import StatusCache
from worker.config import Settings
from worker.intake.accept import Acceptor
from worker.ledger import schema
from worker.ledger.session import Ledger
from worker.queue.dispatch import Dispatcher
from worker.store import open_store

EXTENSION = "nightread"


class Dependencies:
    """The ledger, the store and the two ways in. Building it connects to nothing yet."""

    def __init__(self, settings: Settings) -> None:
        """Open what the settings name."""
        self.settings = settings
        self.ledger = Ledger(settings.database)
        self.store = open_store(settings)
        self.acceptor = Acceptor(settings, self.ledger, self.store)
        self.dispatcher = Dispatcher(settings, self.ledger)
        self.status_cache = StatusCache(self.ledger)

    @cached_property
    def newest_schema(self) -> str:
        """The schema that this program needs; asked once, since it reads the migrations' folder."""
        return schema.newest()


def dependencies() -> Dependencies:
    """The services of the application that answers the current request."""
    return cast("Dependencies", current_app.extensions[EXTENSION])
