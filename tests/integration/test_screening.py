"""`Screener` with the real model and image store, on SQLite and PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select
from sqlalchemy.orm import joinedload

from tests.bundles import WHOLE_FILMS
from tests.conftest import HANG_S, make_settings
from tests.filling import assert_consistent, follow, give_age, image
from tests.model_sites import candidate_bundle
from worker.commands.replay import replay_image
from worker.commands.screen_files import as_text, screen_files
from worker.config import Settings
from worker.dicom.decoder import Decoder, bounds_of
from worker.errors import ModelUnusable, StoreAway, TransientFailure
from worker.imagefile.limits import Limits
from worker.inference.triage import OperatingPoint, triage
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.ledger import bundles, canary, leases, shadows, thresholds
from worker.ledger.point_groups import Group
from worker.ledger.protocols import Protocol
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import ImageState, Lane, Source
from worker.ledger.tables import Image, Model, Prediction
from worker.ledger.thresholds import Point
from worker.screening import Prepared, Scorer, ScoringResult, Screener, open_scorer
from worker.shadowing import Shadower
from worker.store import Store, open_store


class Site:
    """A ledger, an image store and a screener."""

    def __init__(self, settings: Settings, ledger: Ledger, scorer: Scorer) -> None:
        self.settings, self.ledger, self.scorer = settings, ledger, scorer
        self.store: Store = open_store(settings)
        self.screener = Screener(settings, ledger, self.store, scorer)

    def accept(self, folder: Path, files: Sequence[bytes]) -> list[int]:
        """Write the files to a folder, accept them and return the ids of their images."""
        paths = [folder / f"{number}.jpg" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        accepted = Acceptor(self.settings, self.ledger, self.store).accept(
            [Candidate(path, path.name) for path in paths], source=Source.IMPORT, lane=Lane.OVERNIGHT
        )
        return [row.image_id for row in accepted]

    def predictions(self) -> dict[int, Prediction]:
        """Return image id -> prediction."""
        with self.ledger.reading() as session:
            return {row.image_id: row for row in session.scalars(select(Prediction))}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return open_scorer(Settings())


@pytest.fixture
def site(tmp_path: Path, ledger: Ledger, scorer: Scorer) -> Site:
    # After a third of its lease, a worker hands back what it has not begun: on a slow machine, too much.
    return Site(make_settings(tmp_path / "data", lease_s=HANG_S), ledger, scorer)


@pytest.fixture
def site_without_distance(tmp_path: Path, ledger: Ledger) -> Site:
    """A site whose verdicts follow from score and operating point: no image is far from the training data."""
    settings = make_settings(tmp_path / "data", lease_s=HANG_S)
    return Site(settings, ledger, open_scorer(Settings(model=WHOLE_FILMS)))


@pytest.fixture
def images(phantoms: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in phantoms[:3]]


def test_chunk_is_scored_with_versions_times_and_activation_maps(
    site: Site, tmp_path: Path, images: list[bytes]
) -> None:
    ids = site.accept(tmp_path, images)
    assert site.screener.screen(ids) == 3
    predictions = site.predictions()
    assert sorted(predictions) == ids
    for row in predictions.values():
        assert row.p_normal + row.p_bacterial + row.p_viral == pytest.approx(1, abs=1e-5)
        assert row.p_pneumonia == pytest.approx(row.p_bacterial + row.p_viral, abs=1e-6)
        assert row.confidence == max(row.p_pneumonia, 1 - row.p_pneumonia)
        assert row.verdict in {"flagged", "uncertain", "clear"}
        assert len(row.activation) == row.map_height * row.map_width
        assert row.started_at <= row.finished_at
        assert row.versions == site.scorer.versions
        assert row.compute_ms > 0
    assert {image(site.ledger, i).attempts for i in ids} == {1}
    assert_consistent(site.ledger)


def test_chunk_delivered_twice_is_scored_once(site: Site, tmp_path: Path, images: list[bytes]) -> None:
    ids = site.accept(tmp_path, images)
    assert site.screener.screen(ids) == 3
    assert site.screener.screen(ids) == 0
    assert site.screener.screen([*ids, 9_999]) == 0
    assert len(site.predictions()) == 3


def test_bad_images_in_a_chunk_are_rejected_and_others_scored(
    site: Site, tmp_path: Path, images: list[bytes]
) -> None:
    ids = site.accept(tmp_path, [images[0], images[1][: len(images[1]) // 2], images[2]])
    path = site.store.path(image(site.ledger, ids[2]).sha256)
    path.unlink()
    path.write_bytes(images[0])
    assert site.screener.screen(ids) == 3
    states = [(row.state, row.reason_code) for row in (image(site.ledger, i) for i in ids)]
    assert states == [("scored", None), ("rejected", "truncated"), ("rejected", "changed_in_store")]
    assert list(site.predictions()) == ids[:1], "a rejected image has a prediction"
    assert_consistent(site.ledger)


def test_unreadable_image_is_quarantined_after_three_attempts(
    site: Site, tmp_path: Path, images: list[bytes]
) -> None:
    (lost,) = site.accept(tmp_path, images[:1])
    path = site.store.path(image(site.ledger, lost).sha256)
    path.rename(tmp_path / "away")
    for attempts in (1, 2, 3):
        with pytest.raises(TransientFailure):
            site.screener.screen([lost])
        assert image(site.ledger, lost).attempts == attempts
    quarantined = image(site.ledger, lost)
    assert (quarantined.state, quarantined.reason_code) == (ImageState.QUARANTINED, "store_failed")
    assert quarantined.reason == (
        f"The image store cannot read image {lost}: the store has no such image. Tried 3 times."
    )
    with site.ledger.transaction() as session:
        leases.retry(session, lost, who="user:1", why="the disk is back", at=utc_now())
    (tmp_path / "away").rename(path)
    assert site.screener.screen([lost]) == 1
    assert image(site.ledger, lost).state == ImageState.SCORED
    assert_consistent(site.ledger)


def test_unreachable_store_costs_no_attempt(site: Site, tmp_path: Path, images: list[bytes]) -> None:
    ids = site.accept(tmp_path, images[:2])
    site.store.root.rename(tmp_path / "away")
    for _ in range(5):
        with pytest.raises(StoreAway):
            site.screener.screen(ids)
    assert {(row.state, row.attempts) for row in (image(site.ledger, i) for i in ids)} == {("pending", 0)}
    (tmp_path / "away").rename(site.store.root)
    assert site.screener.screen(ids) == 2
    assert_consistent(site.ledger)


def test_scoring_error_is_named_in_the_quarantine_reason(
    site: Site, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Sequence[Prepared]) -> list[ScoringResult]:
        raise ZeroDivisionError("by zero")

    ids = site.accept(tmp_path, images)
    with monkeypatch.context() as patch:
        patch.setattr(site.scorer, "score", fail)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                site.screener.screen(ids)
    quarantined = image(site.ledger, ids[0])
    assert (quarantined.state, quarantined.reason_code) == (ImageState.QUARANTINED, "scoring_failed")
    assert quarantined.reason == "Scoring failed: ZeroDivisionError, by zero. Tried 3 times."
    assert site.predictions() == {}
    assert assert_consistent(site.ledger).quarantined == 3


def test_slow_chunk_hands_back_the_images_that_it_has_not_begun(
    site: Site, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk of JPEG 2000 objects may take longer than a lease. Only a process that hangs is killed."""
    ids, now = site.accept(tmp_path, images), time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    prepare, score = site.scorer.prepare, site.scorer.score
    while_scoring = []

    def slowly(data: bytes, limits: Limits) -> Prepared:
        nonlocal now
        now += site.settings.lease_s / 5
        return prepare(data, limits)

    def note(images: Sequence[Prepared]) -> list[ScoringResult]:
        row = image(site.ledger, ids[2])
        while_scoring.append((row.state, row.attempts, row.queued_at))
        return score(images)

    monkeypatch.setattr(site.scorer, "prepare", slowly)
    monkeypatch.setattr(site.scorer, "score", note)
    assert site.screener.screen(ids) == 2
    assert while_scoring == [("pending", 0, None)], "it is published again at once"
    assert site.screener.screen(ids) == 1
    assert {image(site.ledger, i).attempts for i in ids} == {1}
    assert_consistent(site.ledger)


def test_image_that_takes_longer_than_a_chunk_may_is_scored(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, images: list[bytes]
) -> None:
    site = Site(make_settings(tmp_path / "data", lease_s=1e-6), ledger, scorer)
    ids = site.accept(tmp_path, images)
    assert [site.screener.screen(ids) for _ in ids] == [1, 1, 1]


def test_worker_that_stops_hands_back_the_images_that_it_has_not_begun(
    site: Site, tmp_path: Path, images: list[bytes]
) -> None:
    ids, stopping = site.accept(tmp_path, images), True
    screener = Screener(site.settings, site.ledger, site.store, site.scorer, lambda: stopping)
    assert screener.screen(ids) == 1
    rows = [image(site.ledger, i) for i in ids]
    assert [(row.state, row.attempts) for row in rows] == [("scored", 1), ("pending", 0), ("pending", 0)]
    assert_consistent(site.ledger)


def test_candidate_scores_a_page_of_slow_images_in_parts(
    site: Site, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = site.accept(tmp_path, images)
    assert site.screener.screen(ids) == 3
    with site.ledger.transaction() as session:
        model = bundles.register(session, candidate_bundle(), utc_now())
        shadows.change(session, model, who="os:0", why="a trial", at=utc_now())
    shadower = Shadower(site.settings, site.ledger, site.store)
    prepare, now = site.scorer.prepare, time.monotonic()

    def slowly(data: bytes, limits: Limits) -> Prepared:
        nonlocal now
        now += site.settings.lease_s
        return prepare(data, limits)

    monkeypatch.setattr(shadower, "_candidate", lambda: site.scorer)
    monkeypatch.setattr(site.scorer, "prepare", slowly)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    assert [shadower.run() for _ in range(4)] == [1, 1, 1, 0]
    assert_consistent(site.ledger)


def test_worker_with_an_expired_lease_records_nothing(
    site: Site, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = site.accept(tmp_path, images)
    other_screener = Screener(site.settings, site.ledger, site.store, site.scorer)
    score: Callable[[Sequence[Prepared]], list[ScoringResult]] = site.scorer.score

    def score_too_late(images: Sequence[Prepared]) -> list[ScoringResult]:
        monkeypatch.setattr(site.scorer, "score", score)
        with site.ledger.transaction() as session:
            for row in session.scalars(select(Image)):
                row.lease_until = utc_now()
        with site.ledger.transaction() as session:
            assert leases.expire(session, lease_s=10, max_attempts=3, at=utc_now()) == 3
        assert other_screener.screen(ids) == 3
        return score(images)

    monkeypatch.setattr(site.scorer, "score", score_too_late)
    assert site.screener.screen(ids) == 0
    assert len(site.predictions()) == 3
    assert {image(site.ledger, i).attempts for i in ids} == {2}
    assert_consistent(site.ledger)


def test_unknown_operating_point_stops_the_worker(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match=r"has no operating point 'nowhere'\. It has "):
        open_scorer(make_settings(tmp_path / "data", operating_point="nowhere"))


def open_site(tmp_path: Path, ledger: Ledger, scorer: Scorer, **chosen: str) -> Site:
    return Site(make_settings(tmp_path / "data", **chosen), ledger, scorer)


def test_adult_is_scored_and_never_clear(
    site_without_distance: Site, tmp_path: Path, images: list[bytes]
) -> None:
    """At an operating point that calls every phantom clear."""
    site = site_without_distance
    point = OperatingPoint("lenient", 1.0, 1.0, 1.0)
    follow(site.ledger, Protocol(sample_share=0))
    ids = site.accept(tmp_path, images)
    give_age(site.ledger, ids[0], 3)
    give_age(site.ledger, ids[1], 40)
    with_point = Scorer(site.scorer.bundle, point, "litert", Decoder(bounds_of(site.settings)))
    assert Screener(site.settings, site.ledger, site.store, with_point).screen(ids) == 3
    found = [(row.population, row.verdict, row.clear_below) for row in predictions_of(site.ledger, ids)]
    assert found == [("inside", "clear", 1), ("outside", "uncertain", 0), ("unknown", "clear", 1)]
    counts = assert_consistent(site.ledger)
    assert (counts.inside_population, counts.outside_population, counts.unknown_age) == (1, 1, 1)
    assert counts.unread == 1
    assert replay_image(site.settings, site.ledger, ids[1])["computed"]["population"] == "outside"


def put_in_force(ledger: Ledger, point: Point | None, group: Group | None = None) -> None:
    with ledger.transaction() as session:
        model = session.scalars(select(Model)).one()
        thresholds.change(session, model, point, who="user:1", why="a test", at=utc_now(), group=group)


def test_running_screener_follows_the_point_that_the_site_puts_in_force(
    site_without_distance: Site, tmp_path: Path, images: list[bytes]
) -> None:
    """Each image is scored before or after a change, and follows what is in force when it is recorded."""
    site = site_without_distance
    follow(site.ledger, Protocol(sample_share=0))
    ids = site.accept(tmp_path, images)
    chosen = [None, Point("none-clear", 0.0, 0.0, 1.0), Point("all-clear", 1.0, 1.0, 1.0)]
    screener = Screener(site.settings, site.ledger, site.store, site.scorer)
    names = []
    for image_id, point in zip(ids, chosen, strict=True):
        if point is not None:
            put_in_force(site.ledger, point)
        screener.screen([image_id])
        (row,) = predictions_of(site.ledger, [image_id])
        names.append((row.operating_point.name, row.verdict))
    default = site.scorer.point
    (first,) = predictions_of(site.ledger, ids[:1])
    assert names == [
        (default.name, triage(first.p_pneumonia, default, cropped=first.crop is not None).value),
        ("none-clear", "uncertain"),
        ("all-clear", "clear"),
    ]
    assert_consistent(site.ledger)


def test_running_screener_follows_the_point_of_the_age_group(
    site_without_distance: Site, tmp_path: Path, images: list[bytes]
) -> None:
    site = site_without_distance
    follow(site.ledger, Protocol(sample_share=0))
    ids = site.accept(tmp_path, images)
    screener = Screener(site.settings, site.ledger, site.store, site.scorer)
    put_in_force(site.ledger, Point("all-clear", 1.0, 1.0, 1.0))
    put_in_force(site.ledger, Point("none-clear", 0.0, 0.0, 1.0), Group(18, 64))
    give_age(site.ledger, ids[0], 30.0)
    screener.screen(ids)
    rows = predictions_of(site.ledger, ids)
    assert [(row.operating_point.name, row.point_group, row.verdict) for row in rows] == [
        ("none-clear", "age=18-64", "uncertain"),
        *[("all-clear", None, "clear")] * (len(ids) - 1),
    ]
    assert_consistent(site.ledger)


def predictions_of(ledger: Ledger, ids: list[int]) -> list[Prediction]:
    with ledger.reading() as session:
        rows = select(Prediction).where(Prediction.image_id.in_(ids)).order_by(Prediction.image_id)
        return list(session.scalars(rows.options(joinedload(Prediction.operating_point))))


def test_settings_keep_other_patients_from_being_scored(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, images: list[bytes]
) -> None:
    site = open_site(tmp_path, ledger, scorer, outside_population="reject", unknown_age="reject")
    ids = site.accept(tmp_path, images)
    give_age(ledger, ids[0], 3)
    give_age(ledger, ids[1], 40)
    assert site.screener.screen(ids) == 3
    states = [(row.state, row.reason_code) for row in (image(ledger, i) for i in ids)]
    assert states == [("scored", None), ("rejected", "outside_population"), ("rejected", "unknown_age")]
    assert_consistent(ledger)


def send_canary(site: Site, folder: Path, data: bytes) -> int:
    """Accept a file as a canary and return the id of its image."""
    (folder / "canary.jpg").write_bytes(data)
    (accepted,) = Acceptor(site.settings, site.ledger, site.store).accept(
        [Candidate(folder / "canary.jpg", "canary.jpg")],
        source=Source.CANARY,
        lane=Lane.URGENT,
        run=canary.RUN,
    )
    return accepted.image_id


def test_canary_shows_no_patient_and_is_scored(
    tmp_path: Path, ledger: Ledger, scorer: Scorer, images: list[bytes]
) -> None:
    site = open_site(tmp_path, ledger, scorer, unknown_age="reject")
    number = send_canary(site, tmp_path, images[0])
    assert site.screener.screen([number]) == 1
    assert image(ledger, number).population is None
    assert image(ledger, number).state == ImageState.SCORED


def test_nobody_has_to_read_a_canary(site: Site, tmp_path: Path, images: list[bytes]) -> None:
    """The model flags everything, and then the site does."""
    everything = OperatingPoint("all-flagged", 0.0, 0.0, 0.0)
    strict = Scorer(site.scorer.bundle, everything, "litert", Decoder(bounds_of(site.settings)))
    screener = Screener(site.settings, site.ledger, site.store, strict)
    first = [*site.accept(tmp_path, images[:1]), send_canary(site, tmp_path, images[1])]
    assert screener.screen(first) == 2
    put_in_force(site.ledger, Point("all-uncertain", 0.0, 0.0, 1.0))
    second = send_canary(site, tmp_path, images[2])
    assert screener.screen([second]) == 1
    rows = predictions_of(site.ledger, [*first, second])
    assert [(row.operating_point.name, row.verdict) for row in rows] == [
        ("all-flagged", "flagged"),
        ("all-flagged", "clear"),
        ("all-uncertain", "clear"),
    ]
    assert assert_consistent(site.ledger).unread == 1


def test_screen_command_says_who_is_outside_where_it_knows_the_age(
    tmp_path: Path, images: list[bytes]
) -> None:
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for file, data in zip(files, images, strict=True):
        file.write_bytes(data)
    (tmp_path / "identity.csv").write_text("file,age_years\n0.jpg,3\n1.jpg,40\n")
    documents = screen_files(Settings(), files)
    assert [row["population"] for row in documents] == ["inside", "outside", "unknown"]
    assert documents[1]["verdict"] != "clear"
    told = ["outside the model's population" in line for line in as_text(documents).splitlines()[:3]]
    assert told == [False, True, False]
    (rejected,) = screen_files(Settings(outside_population="reject"), files[1:2])
    assert (rejected["outcome"], rejected["p_pneumonia"]) == ("rejected", None)
