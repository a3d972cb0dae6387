"""Renditions ahead of reading: flagged and uncertain images first, and only what is missing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.files import jpeg
from tests.integration.webui.night import Night, scored_night
from worker.errors import StoreAway
from worker.ledger import leases
from worker.ledger.session import utc_now
from worker.ledger.tables import Image, Prediction
from worker.renditions.ahead import AheadOfReading
from worker.renditions.area import RenditionArea
from worker.store import open_store

# Each rendition has a process of its own.
pytestmark = pytest.mark.slow


@pytest.fixture
def night(tmp_path: Path, ledger_url: str) -> Iterator[Night]:
    """A flagged, an uncertain and a clear image."""
    made = scored_night(
        tmp_path / "data", (0.9, 0.5, 0.1), tmp_path, width=200, database_url=ledger_url, restart_pause_s=1
    )
    yield made
    made.ledger.close()


def made(night: Night) -> set[int]:
    """Return the ids of the images that have renditions."""
    area = RenditionArea(open_store(night.settings).root)
    with night.ledger.reading() as session:
        return {image.id for image in session.query(Image) if area.has(image.sha256)}


def ahead_of(night: Night) -> AheadOfReading:
    return AheadOfReading(night.settings, night.ledger, open_store(night.settings))


def test_images_to_read_are_ready_before_anybody_opens_them(night: Night) -> None:
    ahead_of(night).run(threading.Event())
    assert made(night) == {1, 2}


def test_image_scored_later_follows(night: Night, tmp_path: Path) -> None:
    ahead = ahead_of(night)
    ahead.run(threading.Event())
    path = tmp_path / "later.jpg"
    path.write_bytes(jpeg())
    later = night.accept([path])[0].image_id
    night.score({later: 0.8})
    ahead.run(threading.Event())
    assert made(night) == {1, 2, later}


def test_file_that_cannot_be_shown_does_not_stop_the_others(night: Night) -> None:
    with night.ledger.reading() as session:
        path = open_store(night.settings).path(session.get_one(Image, 1).sha256)
    path.chmod(0o600)
    path.write_bytes(b"damaged")
    ahead_of(night).run(threading.Event())
    area = RenditionArea(open_store(night.settings).root)
    assert "have changed" in str(area.failure(path.name))
    assert made(night) == {1, 2}


def test_scoring_comes_first(night: Night, tmp_path: Path) -> None:
    path = tmp_path / "later.jpg"
    path.write_bytes(jpeg())
    later = night.accept([path])[0].image_id
    with night.ledger.transaction() as session:
        leases.lease(session, [later], owner="test", lease_s=600, at=utc_now())
    made_before: list[set[int]] = []

    class EndsTheLease(threading.Event):
        """Notes what is made while the image is leased, and ends the lease."""

        def wait(self, timeout: float | None = None) -> bool:  # noqa: ARG002 - the method of Event
            made_before.append(made(night))
            with night.ledger.transaction() as session:
                leases.release(
                    session, [later], owner="test", code="test", reason="Test.", max_attempts=9, at=utc_now()
                )
            return False

    ahead_of(night).run(EndsTheLease())
    assert made_before == [set()]
    # The image that waits to be scored does not hold them up.
    assert made(night) == {1, 2}


def test_images_are_not_forgotten_when_the_store_was_away(night: Night) -> None:
    with night.ledger.transaction() as session:
        for prediction in session.query(Prediction):
            prediction.finished_at -= timedelta(days=2, hours=prediction.id)
    root = open_store(night.settings).root
    away = root.with_name("away")
    ahead = ahead_of(night)
    root.rename(away)
    with pytest.raises(StoreAway):
        ahead.run(threading.Event())
    away.rename(root)
    ahead.run(threading.Event())
    assert made(night) == {1, 2}


def test_stop_ends_the_work(night: Night) -> None:
    stop = threading.Event()
    stop.set()
    ahead_of(night).run(stop)
    assert not made(night)
