"""An image far from the training data is recorded, replayed and shown as such, is never clear, and the trail proves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.bundles import with_distance
from tests.conftest import make_settings
from tests.files import encoded
from tests.filling import assert_consistent, image
from worker.commands.replay import as_text, replay_image
from worker.commands.screen_files import as_text as screened_as_text
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.ledger.comparison import compare
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import AuditEvent, Prediction
from worker.phantom import draw_phantom
from worker.screening import Screener, open_scorer
from worker.store import open_store

# All phantoms are beyond the first limit, and none is beyond the second.
LIMITS = {"far": 100.0, "near": 200.0}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {name: with_distance(folder / name, limit=limit) for name, limit in LIMITS.items()}


@pytest.fixture(params=list(LIMITS))
def where(request: pytest.FixtureRequest) -> str:
    """Return a key of `LIMITS`: whether images lie far from the training data, or near it."""
    return str(request.param)


@pytest.fixture
def settings(tmp_path: Path, bundles: dict[str, Path], where: str) -> Settings:
    return make_settings(tmp_path / "data", model=bundles[where])


@pytest.fixture
def number(film: Path, settings: Settings, ledger: Ledger) -> int:
    """Screen one phantom and return the id of its image."""
    (taken,) = Acceptor(settings, ledger, open_store(settings)).accept(
        [Candidate(film, film.name)], source=Source.IMPORT, lane=Lane.OVERNIGHT
    )
    Screener(settings, ledger, open_store(settings), open_scorer(settings)).screen([taken.image_id])
    return taken.image_id


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    path.write_bytes(encoded(draw_phantom(3, width=500), "PNG"))
    return path


def test_distance_is_recorded_and_what_is_far_is_never_clear(ledger: Ledger, number: int, where: str) -> None:
    with ledger.reading() as session:
        prediction = session.scalars(select(Prediction)).one()
        event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "scored")).one()
    assert prediction.distance is not None
    assert (prediction.distance > 1) == prediction.is_far == (where == "far")
    assert prediction.verdict == ("uncertain" if where == "far" else "clear")
    assert image(ledger, number).verdict == prediction.verdict
    assert image(ledger, number).distance == prediction.distance
    assert json.loads(event.payload)["distance"] == f"{prediction.distance:.6f}"
    assert_consistent(ledger)


def test_altered_distance_is_found(ledger: Ledger, number: int) -> None:
    with ledger.transaction() as session:
        session.execute(update(Prediction).values(distance=0.5))
    with ledger.reading() as session:
        mismatches = compare(session).mismatches
    assert ["distance" in str(mismatch) for mismatch in mismatches] == [True]
    assert str(number) in str(mismatches[0])


def test_distance_is_replayed_bit_for_bit(settings: Settings, ledger: Ledger, number: int) -> None:
    comparison = replay_image(settings, ledger, number)
    assert comparison["same"] is True
    recorded = comparison["recorded"]["distance"]
    assert comparison["computed"]["distance"] == recorded
    assert f"distance     recorded {recorded:.6f}  computed {recorded:.6f}" in as_text(comparison)
    with ledger.transaction() as session:
        session.execute(update(Prediction).values(distance=recorded + 1e-6))
    assert replay_image(settings, ledger, number)["same"] is False


def test_screen_command_says_what_is_far(settings: Settings, film: Path, where: str) -> None:
    documents = screen_files(settings, [film])
    assert documents[0]["outcome"] == "scored"
    distance = documents[0]["distance"]
    assert isinstance(distance, float)
    assert (distance > 1) == (where == "far")
    assert ("far from the training data" in screened_as_text(documents)) == (where == "far")
