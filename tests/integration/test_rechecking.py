"""After an upgrade, older predictions are checked, and films on pages are scored again, on SQLite and PostgreSQL."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from sqlalchemy import select

from tests.conftest import Stack, make_settings, wait_for
from tests.files import encoded
from tests.filling import AT, fill, follow, image, known_reader, later
from tests.old_ledger import fill_old_ledger
from worker import rechecking
from worker.config import Settings
from worker.errors import StoreAway
from worker.inference.film import Box
from worker.ledger import leases, rescores, schema
from worker.ledger.comparison import compare
from worker.ledger.file_counts import file_counts
from worker.ledger.protocols import Protocol
from worker.ledger.reading_queue import open_image
from worker.ledger.session import Ledger, ledger_time, utc_now
from worker.ledger.status import status_document
from worker.ledger.tables import Prediction, Rescore
from worker.phantom import draw_phantom
from worker.rechecking import Rechecker
from worker.screening import Scorer, Screener, open_scorer
from worker.store import Area, Store, open_store

FILM, PAGE = 1, 4  # Images of the old ledger: flagged and read, and clear.


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return open_scorer(Settings())


@pytest.fixture(scope="module")
def film() -> bytes:
    return encoded(draw_phantom(3, width=500), "JPEG", quality=92)


@pytest.fixture(scope="module")
def page() -> bytes:
    """Return a film on a white page."""
    return encoded(ImageOps.expand(draw_phantom(4, width=400), 160, 255), "JPEG", quality=92)


@pytest.fixture(scope="module")
def pair() -> bytes:
    """Return two films on one page, which cannot be scored."""
    both = Image.new("L", (1200, 800), 255)
    for x in (50, 650):
        both.paste(draw_phantom(3, width=500), (x, 100))
    return encoded(both, "JPEG", quality=92)


class Site:
    """A ledger that version 0.2.0 wrote, upgraded, with the files of images 1 and 4 in its store."""

    def __init__(self, settings: Settings, url: str, scorer: Scorer, files: dict[int, bytes]) -> None:
        self.settings, self.scorer = settings, scorer
        self.ledger = Ledger(Settings(database_url=url).database)
        self.store: Store = open_store(settings)
        hashes = {number: hashlib.sha256(data).hexdigest() for number, data in files.items()}
        fill_old_ledger(self.ledger, hashes)
        self.store.make()
        for number, data in files.items():
            self.store.put(io.BytesIO(data), hashes[number], Area.IMAGES)
        schema.upgrade(self.ledger)
        self._finish_pending()
        self.screener = Screener(settings, self.ledger, self.store, scorer)
        self.rechecker = Rechecker(settings, self.ledger, self.store, scorer, self.screener)

    def _finish_pending(self) -> None:
        """Quarantine image 3, which has no file: the check runs only while nothing waits."""
        with self.ledger.transaction() as session:
            leases.lease(session, [3], owner="w1", lease_s=60, at=AT)
            leases.release(session, [3], owner="w1", code="gone", reason="Gone.", max_attempts=1, at=AT)

    def state(self, number: int) -> tuple[str, str | None]:
        row = image(self.ledger, number)
        return row.state, row.verdict

    def assert_true(self) -> None:
        """Check that the audit trail proves all rows."""
        with self.ledger.reading() as session:
            assert compare(session).mismatches == []
            assert file_counts(session).balanced


@pytest.fixture
def make_site(tmp_path: Path, database_url: str, scorer: Scorer) -> Iterator[Callable[..., Site]]:
    sites: list[Site] = []

    def make(film: bytes, page: bytes) -> Site:
        settings = make_settings(tmp_path / "data")
        sites.append(Site(settings, database_url, scorer, {FILM: film, PAGE: page}))
        return sites[-1]

    yield make
    for site in sites:
        site.ledger.close()


@pytest.fixture
def site(make_site: Callable[..., Site], film: bytes, page: bytes) -> Site:
    return make_site(film, page)


def test_film_on_a_page_is_scored_again_alone(site: Site) -> None:
    follow(site.ledger, Protocol(sample_share=0))
    assert site.state(PAGE) == ("scored", "clear")
    assert site.rechecker.run() == 1
    with site.ledger.reading() as session:
        opened = open_image(session, PAGE)
        (row,) = session.scalars(select(Rescore))
    assert opened is not None
    assert (opened.state, opened.review_state) == ("scored", "unread")
    newer, earlier = opened.predictions
    assert newer.model.sha256 == site.scorer.bundle.sha256
    assert newer.crop == pytest.approx((160, 160, 560, 160 + newer.crop[3] - newer.crop[1]), abs=6)  # type: ignore[index]
    assert (earlier.crop, earlier.verdict) == (None, "clear")
    assert (row.image_id, row.prediction_id, row.reason_code) == (PAGE, earlier.id, "cropped")
    site.assert_true()


def test_film_without_a_margin_keeps_score_and_reading(site: Site) -> None:
    with site.ledger.reading() as session:
        before = vars(session.get_one(Prediction, FILM)).copy()
    site.rechecker.run()
    row = image(site.ledger, FILM)
    assert (row.state, row.verdict, row.review_state) == ("scored", "flagged", "read")
    with site.ledger.reading() as session:
        predictions = session.scalars(select(Prediction).where(Prediction.image_id == FILM)).all()
        assert [vars(one)["p_pneumonia"] for one in predictions] == [before["p_pneumonia"]]


def test_page_of_slow_images_is_checked_in_parts(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that takes longer than a lease would end its scoring process again and again."""
    now, find = time.monotonic(), site.scorer.find_film
    monkeypatch.setattr(time, "monotonic", lambda: now)
    looked_at = []

    def slowly(data: bytes) -> Box | None:
        nonlocal now
        now += site.settings.lease_s
        looked_at.append(data)
        return find(data)

    monkeypatch.setattr(site.scorer, "find_film", slowly)
    assert site.rechecker.run() == 0
    assert (len(looked_at), site.state(PAGE)) == (1, ("scored", "clear"))
    assert site.rechecker.run() == 1
    assert len(looked_at) == 2
    site.rechecker.run()
    assert len(looked_at) == 2, "each image is checked once"
    site.assert_true()


def test_films_that_cannot_be_scored_are_rejected(
    make_site: Callable[..., Site], film: bytes, pair: bytes
) -> None:
    site = make_site(film, pair)
    assert site.rechecker.run() == 1
    row = image(site.ledger, PAGE)
    assert (row.state, row.reason_code, row.verdict) == ("rejected", "on_a_page", None)
    with site.ledger.reading() as session:
        assert [one.reason_code for one in rescores.unseen(session, limit=9)] == ["on_a_page"]
    site.assert_true()


def test_checked_images_are_never_loaded_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.rechecker.run()
    loaded: list[str] = []
    monkeypatch.setattr(site.store, "read", loaded.append)
    assert site.rechecker.run() == 0
    assert loaded == []


def test_nothing_is_loaded_while_an_image_waits(site: Site) -> None:
    fill(site.ledger, 77)
    assert site.rechecker.run() == 0
    assert site.state(PAGE) == ("scored", "clear")


@pytest.mark.parametrize("harm", ["missing", "changed"])
def test_lost_bytes_do_not_stop_the_check(site: Site, film: bytes, harm: str) -> None:
    path = site.store.path(hashlib.sha256(film).hexdigest())
    path.unlink()
    if harm == "changed":
        path.write_bytes(b"other")
    assert site.rechecker.run() == 1
    assert image(site.ledger, FILM).review_state == "read", "its score and reading stay"
    assert site.state(PAGE)[0] == "scored"


def test_store_that_is_away_loses_nothing(site: Site, tmp_path: Path) -> None:
    site.store.root.rename(tmp_path / "away")
    for _ in range(5):
        with pytest.raises(StoreAway):
            site.rechecker.run()
    (tmp_path / "away").rename(site.store.root)
    assert site.rechecker.run() == 1


def test_killed_worker_loses_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Ends the process at this place, like SIGKILL."""

    def die(_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(site.scorer, "find_film", die)
        with pytest.raises(Killed):
            site.rechecker.run()
    assert site.rechecker.run() == 0, "its page is not free yet"
    pass_time(monkeypatch, site.settings.lease_s + 1)
    with monkeypatch.context() as patch:
        patch.setattr(site.screener, "screen", die)
        with pytest.raises(Killed):
            site.rechecker.run()
    assert site.state(PAGE) == ("pending", None)
    assert site.screener.screen([PAGE]) == 1, "the sweeper publishes it"
    assert site.rechecker.run() == 0
    site.assert_true()


def test_image_that_kills_each_check_is_left_to_scoring(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        """Ends the process at this place, like SIGKILL."""

    find_film = site.scorer.find_film

    def die_of_page(data: bytes) -> Box | None:
        if (found := find_film(data)) is not None:
            raise Killed
        return found

    monkeypatch.setattr(site.scorer, "find_film", die_of_page)
    monkeypatch.setattr(rechecking, "_PAGE", 8)
    deaths = 0
    while site.state(PAGE) == ("scored", "clear") and deaths < 10:
        try:
            site.rechecker.run()
        except Killed:
            deaths += 1
            pass_time(monkeypatch, deaths * (site.settings.lease_s + 1))
    assert deaths == site.settings.max_attempts
    with site.ledger.reading() as session:
        assert [row.reason_code for row in session.scalars(select(Rescore))] == ["unchecked"]
    site.assert_true()


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move the clock of the check on."""
    monkeypatch.setattr(
        rechecking, "ledger_time", lambda session: ledger_time(session) + (later(seconds) - AT)
    )


def test_model_with_the_same_preprocessing_checks_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = site.rechecker._target
    monkeypatch.setattr(site.rechecker, "_target", type(target)(target.model_id, "1", ()))
    assert site.rechecker.run() == 0
    assert site.state(PAGE) == ("scored", "clear")


@pytest.mark.stack
def test_upgraded_program_scores_pages_again_by_itself(
    make_stack: Callable[..., Stack], scorer: Scorer, film: bytes, page: bytes
) -> None:
    stack = make_stack()
    Path(stack.settings.data / "nightread.sqlite3").unlink()
    stack.ledger.close()
    site = Site(stack.settings, stack.settings.database, scorer, {FILM: film, PAGE: page})
    stack.start()

    def document() -> dict[str, Any]:
        with site.ledger.reading() as session:
            return status_document(session, ledger_time(session))

    wait_for(lambda: document()["rescored_unseen"] == 1 and site.state(PAGE)[0] == "scored", stack.log_tail)
    assert any("1 image was scored again" in str(one) for one in document()["troubles"])
    reader = known_reader(site.ledger)
    with site.ledger.transaction() as session:
        (row,) = rescores.unseen(session, limit=9)
        rescores.mark_seen(session, [row.id], reader_id=reader, at=utc_now())
    assert document()["troubles"] == []
    verified = stack.run("audit", "verify")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert image(site.ledger, FILM).review_state == "read"
    site.ledger.close()
