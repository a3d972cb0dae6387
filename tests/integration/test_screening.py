"""One worker's use-case with the real model, the real store and both ledgers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import select

from tests.conftest import make_settings
from tests.filling import assert_consistent, image
from worker.config import Settings
from worker.errors import ModelUnusable, StoreAway, TransientFailure
from worker.intake.accept import Acceptor, Candidate
from worker.ledger import leases
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import ImageState, Lane, Source
from worker.ledger.tables import Image, Prediction
from worker.screening import Result, Scorer, Screener, open_scorer
from worker.store import Store, open_store


class Desk:
    """A ledger with images in it, and one who screens them."""

    def __init__(self, settings: Settings, ledger: Ledger, scorer: Scorer) -> None:
        self.settings, self.ledger, self.scorer = settings, ledger, scorer
        self.store: Store = open_store(settings)
        self.screener = Screener(settings, ledger, self.store, scorer)

    def accept(self, folder: Path, files: Sequence[bytes]) -> list[int]:
        paths = [folder / f"{number}.jpg" for number in range(len(files))]
        for path, data in zip(paths, files, strict=True):
            path.write_bytes(data)
        taken = Acceptor(self.settings, self.ledger, self.store).accept(
            [Candidate(path, path.name) for path in paths], source=Source.IMPORT, lane=Lane.OVERNIGHT
        )
        return [row.image_id for row in taken]

    def predictions(self) -> dict[int, Prediction]:
        with self.ledger.reading() as session:
            return {row.image_id: row for row in session.scalars(select(Prediction))}


@pytest.fixture(scope="module")
def scorer() -> Scorer:
    return open_scorer(Settings())


@pytest.fixture
def desk(tmp_path: Path, ledger: Ledger, scorer: Scorer) -> Desk:
    return Desk(make_settings(tmp_path / "data"), ledger, scorer)


@pytest.fixture
def pictures(phantoms: list[Path]) -> list[bytes]:
    return [path.read_bytes() for path in phantoms[:3]]


def test_chunk_is_scored_with_versions_times_and_activation_maps(
    desk: Desk, tmp_path: Path, pictures: list[bytes]
) -> None:
    ids = desk.accept(tmp_path, pictures)
    assert desk.screener.screen(ids) == 3
    found = desk.predictions()
    assert sorted(found) == ids
    for row in found.values():
        assert row.p_normal + row.p_bacterial + row.p_viral == pytest.approx(1, abs=1e-5)
        assert row.p_pneumonia == pytest.approx(row.p_bacterial + row.p_viral, abs=1e-6)
        assert row.confidence == max(row.p_pneumonia, 1 - row.p_pneumonia)
        assert row.verdict in {"flagged", "uncertain", "clear"}
        assert len(row.activation) == row.map_height * row.map_width
        assert row.started_at <= row.finished_at
        assert row.versions == desk.scorer.versions
        assert row.compute_ms > 0
    assert {image(desk.ledger, i).attempts for i in ids} == {1}
    assert_consistent(desk.ledger)


def test_chunk_delivered_twice_is_scored_once(desk: Desk, tmp_path: Path, pictures: list[bytes]) -> None:
    ids = desk.accept(tmp_path, pictures)
    assert desk.screener.screen(ids) == 3
    assert desk.screener.screen(ids) == 0
    assert desk.screener.screen([*ids, 9_999]) == 0
    assert len(desk.predictions()) == 3


def test_bad_images_in_a_chunk_are_rejected_and_others_scored(
    desk: Desk, tmp_path: Path, pictures: list[bytes]
) -> None:
    ids = desk.accept(tmp_path, [pictures[0], pictures[1][: len(pictures[1]) // 2], pictures[2]])
    path = desk.store.path(image(desk.ledger, ids[2]).sha256)
    path.unlink()
    path.write_bytes(pictures[0])
    assert desk.screener.screen(ids) == 3
    states = [(i.state, i.reason_code) for i in (image(desk.ledger, n) for n in ids)]
    assert states == [("scored", None), ("rejected", "truncated"), ("rejected", "changed_in_store")]
    assert list(desk.predictions()) == ids[:1], "no number is given for bytes that did not arrive"
    assert_consistent(desk.ledger)


def test_unreadable_image_is_quarantined_after_three_attempts(
    desk: Desk, tmp_path: Path, pictures: list[bytes]
) -> None:
    (lost,) = desk.accept(tmp_path, pictures[:1])
    path = desk.store.path(image(desk.ledger, lost).sha256)
    path.rename(tmp_path / "away")
    for attempts in (1, 2, 3):
        with pytest.raises(TransientFailure):
            desk.screener.screen([lost])
        assert image(desk.ledger, lost).attempts == attempts
    kept = image(desk.ledger, lost)
    assert (kept.state, kept.reason_code) == (ImageState.QUARANTINED, "store_failed")
    assert kept.reason == (
        f"The image store cannot read image {lost}: the store has no such image. Tried 3 times."
    )
    with desk.ledger.transaction() as session:
        leases.retry(session, lost, who="user:1", why="the disk is back", at=utc_now())
    (tmp_path / "away").rename(path)
    assert desk.screener.screen([lost]) == 1
    assert image(desk.ledger, lost).state == ImageState.SCORED
    assert_consistent(desk.ledger)


def test_unreachable_store_costs_no_attempt(desk: Desk, tmp_path: Path, pictures: list[bytes]) -> None:
    ids = desk.accept(tmp_path, pictures[:2])
    desk.store.root.rename(tmp_path / "away")
    for _ in range(5):
        with pytest.raises(StoreAway):
            desk.screener.screen(ids)
    assert {(kept.state, kept.attempts) for kept in (image(desk.ledger, n) for n in ids)} == {("pending", 0)}
    (tmp_path / "away").rename(desk.store.root)
    assert desk.screener.screen(ids) == 2
    assert_consistent(desk.ledger)


def test_scoring_error_is_named_in_the_quarantine_reason(
    desk: Desk, tmp_path: Path, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Sequence[NDArray[np.uint8]]) -> list[Result]:
        raise ZeroDivisionError("by zero")

    ids = desk.accept(tmp_path, pictures)
    with monkeypatch.context() as patch:
        patch.setattr(desk.scorer, "score", fails)
        for _ in range(3):
            with pytest.raises(ZeroDivisionError):
                desk.screener.screen(ids)
    kept = image(desk.ledger, ids[0])
    assert (kept.state, kept.reason_code) == (ImageState.QUARANTINED, "scoring_failed")
    assert kept.reason == "Scoring failed: ZeroDivisionError, by zero. Tried 3 times."
    assert desk.predictions() == {}
    assert assert_consistent(desk.ledger).quarantined == 3


def test_worker_with_an_expired_lease_records_nothing(
    desk: Desk, tmp_path: Path, pictures: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = desk.accept(tmp_path, pictures)
    quick = Screener(desk.settings, desk.ledger, desk.store, desk.scorer)
    score: Callable[[Sequence[NDArray[np.uint8]]], list[Result]] = desk.scorer.score

    def overtaken(inputs: Sequence[NDArray[np.uint8]]) -> list[Result]:
        monkeypatch.setattr(desk.scorer, "score", score)
        with desk.ledger.transaction() as session:
            for row in session.scalars(select(Image)):
                row.lease_until = utc_now()
        with desk.ledger.transaction() as session:
            assert leases.expire(session, lease_s=10, max_attempts=3, at=utc_now()) == 3
        assert quick.screen(ids) == 3
        return score(inputs)

    monkeypatch.setattr(desk.scorer, "score", overtaken)
    assert desk.screener.screen(ids) == 0
    assert len(desk.predictions()) == 3
    assert {image(desk.ledger, i).attempts for i in ids} == {2}
    assert_consistent(desk.ledger)


def test_unknown_operating_point_stops_the_worker(tmp_path: Path) -> None:
    with pytest.raises(ModelUnusable, match="has no operating point 'nowhere'; it has "):
        open_scorer(make_settings(tmp_path / "data", operating_point="nowhere"))
