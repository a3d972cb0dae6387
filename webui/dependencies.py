"""The objects that requests work with, built once per application."""

from __future__ import annotations

from functools import cached_property
from typing import cast

from flask import current_app

from webui.status_cache import StatusCache
from webui.verification import Verification
from webui.versioned_cache import VersionedCache
from worker.config import Settings
from worker.intake.accept import Acceptor
from worker.ledger import schema
from worker.ledger.session import Ledger
from worker.queue.dispatch import Dispatcher
from worker.renditions.on_demand import OnDemand
from worker.report.model_comparison import ModelComparison
from worker.report.reading_figures import ReadingCounts
from worker.report.site_cases import SiteCases
from worker.store import open_store

EXTENSION = "nightread"


class Dependencies:
    """Ledger, image store, renditions, acceptor, dispatcher, caches and verification. Building it connects to nothing."""

    def __init__(self, settings: Settings) -> None:
        """Build everything from the settings."""
        self.settings = settings
        self.ledger = Ledger(settings.database)
        self.store = open_store(settings)
        self.renditions = OnDemand(settings, self.store)
        self.acceptor = Acceptor(settings, self.ledger, self.store)
        self.dispatcher = Dispatcher(settings, self.ledger)
        self.status_cache = StatusCache(self.ledger)
        self.read_cases = VersionedCache[SiteCases]()
        self.reading_counts = VersionedCache[ReadingCounts]()
        self.model_comparisons = VersionedCache[ModelComparison]()
        self.verification = Verification()

    @cached_property
    def newest_schema(self) -> str:
        """The schema revision that this program needs. Kept, because it is read from the folder of migrations."""
        return schema.newest()


def dependencies() -> Dependencies:
    """Return the dependencies of the application that handles the current request."""
    return cast("Dependencies", current_app.extensions[EXTENSION])
