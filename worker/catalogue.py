"""The model bundles of this machine: where they are, and which one scores.

Bundles lie in the folder of NIGHTREAD_MODEL, in the folder of models, and among those that Nightread ships. The model that
the site has made active goes before NIGHTREAD_MODEL.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from worker.card.identity import model_sha256
from worker.card.loading import CARD, load_card, parse_section
from worker.card.schema import ScoringCard
from worker.config import ROOT, Settings
from worker.dicom.decoder import Decoder, bounds_of
from worker.errors import ModelUnusable
from worker.inference.bundle import Bundle, load_bundle
from worker.ledger import active_models, bundles
from worker.ledger.bundles import SHOWN, FoundBundle
from worker.ledger.session import Ledger, ledger_time
from worker.screening import Scorer, choose_point

# What a worker has is recorded again after so many reports, because another host may have forgotten it.
_AGAIN_AFTER = 20


def find_bundles(settings: Settings) -> list[FoundBundle]:
    """Return every bundle of this machine, each with the hash of every file checked."""
    return [_examined(settings, folder) for folder in _folders(settings)]


def open_active(settings: Settings, ledger: Ledger) -> Bundle:
    """Verify and return the bundle that scores: the site's choice, else that of NIGHTREAD_MODEL. Raises ModelUnusable.

    Raises TransientFailure when the database is out of reach.
    """
    return open_bundle(settings, active_sha256(ledger))


def active_sha256(ledger: Ledger) -> str | None:
    """Return the model that the site has made active; None without a choice. Raises TransientFailure."""
    with ledger.reading() as session:
        active = active_models.chosen(session)
    return active.model_sha256 if active else None


def open_bundle(settings: Settings, sha256: str | None) -> Bundle:
    """Verify and return the bundle of a model; None: that of NIGHTREAD_MODEL. Raises ModelUnusable."""
    if sha256 is None:
        return _verified(settings, settings.model)
    unusable: ModelUnusable | None = None
    for folder in _folders(settings):
        if _identity(folder) != sha256:
            continue
        try:
            return _verified(settings, folder)
        except ModelUnusable as error:
            unusable = unusable or error
    raise unusable or ModelUnusable(
        f"This machine does not have the model {sha256[:SHOWN]}: put its folder into {settings.models_path}."
    )


def open_scorer_of(settings: Settings, sha256: str | None) -> Scorer:
    """Verify and load a model; None: that of NIGHTREAD_MODEL. Raises ModelUnusable."""
    bundle = open_bundle(settings, sha256)
    return Scorer(bundle, choose_point(settings, bundle), settings.runtime, Decoder(bounds_of(settings)))


class BundleReport:
    """Records in the ledger which bundles this machine has, when they have changed.

    The ledger is used only while `lock` is held.
    """

    def __init__(self, settings: Settings, ledger: Ledger, lock: AbstractContextManager[object]) -> None:
        """Keep what the report needs; nothing is read yet."""
        self._settings = settings
        self._ledger = ledger
        self._lock = lock
        self._marks: Sequence[object] | None = None
        self._found: list[FoundBundle] = []
        self._unwritten = 0

    def run(self) -> None:
        """Look at the folders, and record the bundles if a file has changed. Raises TransientFailure."""
        marks = list(_marks(self._settings))
        if marks != self._marks:
            self._found = find_bundles(self._settings)
            self._unwritten = 0
        if self._unwritten == 0:
            with self._lock, self._ledger.transaction(without_fsync=True) as session:
                bundles.report(session, socket.gethostname(), self._found, ledger_time(session))
        self._marks = marks
        self._unwritten = (self._unwritten + 1) % _AGAIN_AFTER


def _folders(settings: Settings) -> list[Path]:
    """Return the folders that may be bundles, that of NIGHTREAD_MODEL first."""
    folders = [settings.model]
    for parent in (settings.models_path, ROOT / "models"):
        folders += sorted(card.parent for card in parent.glob(f"*/{CARD}"))
    unique: dict[Path, Path] = {}
    for folder in folders:
        unique.setdefault(folder.resolve(), folder)
    return list(unique.values())


def _examined(settings: Settings, folder: Path) -> FoundBundle:
    path = str(folder)
    try:
        card = load_card(folder)
        scoring = parse_section(ScoringCard, card, folder)
    except ModelUnusable as error:
        return FoundBundle(path, folder.name, "", problem=str(error))
    found = FoundBundle(path, scoring.name, scoring.version, model_sha256(card), card)
    try:
        _verified(settings, folder)
    except ModelUnusable as error:
        return FoundBundle(path, found.name, found.version, found.sha256, card, str(error))
    return found


def _verified(settings: Settings, folder: Path) -> Bundle:
    bundle = load_bundle(folder, settings.runtime, settings.model_sha256)
    choose_point(settings, bundle)
    return bundle


def _identity(folder: Path) -> str | None:
    """Return the identity of the model on the card in a folder; None if the card cannot be read."""
    try:
        card = load_card(folder)
        parse_section(ScoringCard, card, folder)
    except ModelUnusable:
        return None
    return model_sha256(card)


def _marks(settings: Settings) -> Iterator[object]:
    """Yield what changes when a file of a bundle changes."""
    for folder in _folders(settings):
        yield str(folder)
        for path in sorted(folder.glob("*")):
            try:
                status = path.stat()
            except OSError:
                continue
            yield path.name, status.st_size, status.st_mtime_ns
