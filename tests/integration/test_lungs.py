"""A model that sees films cut to the lungs: what it saw is recorded, replayed and shown, and belongs to the audit trail."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import select, update

from tests.bundles import with_film, with_lungs
from tests.conftest import make_settings
from tests.files import encoded
from tests.filling import assert_consistent, image
from worker.commands.replay import as_text, replay_image
from worker.commands.screen_files import as_text as screened_text
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.inference.activation import FILM_MAP
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.ledger.comparison import compare
from worker.ledger.session import Ledger
from worker.ledger.states import Lane, Source
from worker.ledger.tables import AuditEvent, Prediction
from worker.ledger.trail_facts import LUNGS
from worker.phantom import draw_phantom
from worker.screening import Screener, open_scorer
from worker.store import open_store


@pytest.fixture(scope="module", params=[with_lungs, with_film], ids=["lungs", "lungs and film"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made: Path = request.param(tmp_path_factory.mktemp("models") / "lungs")
    return made


@pytest.fixture
def settings(tmp_path: Path, bundle: Path) -> Settings:
    return make_settings(tmp_path / "data", model=bundle)


@pytest.fixture
def number(tmp_path: Path, settings: Settings, ledger: Ledger) -> int:
    """Screen one phantom and return the id of its image."""
    path = tmp_path / "film.png"
    path.write_bytes(encoded(draw_phantom(3, width=500), "PNG"))
    (taken,) = Acceptor(settings, ledger, open_store(settings)).accept(
        [Candidate(path, path.name)], source=Source.IMPORT, lane=Lane.OVERNIGHT
    )
    Screener(settings, ledger, open_store(settings), open_scorer(settings)).screen([taken.image_id])
    return taken.image_id


def test_part_that_the_network_saw_is_recorded_and_follows_from_the_trail(
    ledger: Ledger, number: int
) -> None:
    assert image(ledger, number).state == "scored"
    with ledger.reading() as session:
        prediction = session.scalars(select(Prediction)).one()
        event = session.scalars(select(AuditEvent).where(AuditEvent.kind == "scored")).one()
    assert prediction.lungs is not None
    assert prediction.crop is None
    assert prediction.seen == prediction.lungs
    # The map covers the film.
    assert (prediction.map_height, prediction.map_width) == (FILM_MAP, FILM_MAP)
    left, top, right, bottom = prediction.lungs
    width, height = draw_phantom(3, width=500).size
    assert 0 < left < right / 2 < right < width
    assert 0 < top < bottom / 2 < bottom < height
    assert tuple(json.loads(event.payload)[name] for name in LUNGS) == prediction.lungs
    assert_consistent(ledger)
    with ledger.transaction() as session:
        session.execute(update(Prediction).values(lungs_left=left + 1))
    with ledger.reading() as session:
        mismatches = compare(session).mismatches
    assert ["lungs_left" in str(mismatch) for mismatch in mismatches] == [True]


def test_part_that_the_network_saw_is_replayed(settings: Settings, ledger: Ledger, number: int) -> None:
    comparison = replay_image(settings, ledger, number)
    assert comparison["same"] is True
    assert comparison["computed"]["lungs"] == comparison["recorded"]["lungs"] is not None
    assert "lungs " in as_text(comparison)
    with ledger.transaction() as session:
        session.execute(update(Prediction).values(lungs_top=0))
    assert replay_image(settings, ledger, number)["same"] is False


def test_screen_command_says_what_the_network_saw(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "film.png"
    path.write_bytes(encoded(draw_phantom(3, width=500), "PNG"))
    (document,) = screen_files(settings, [path])
    assert document["outcome"] == "scored"
    assert list(dict(document["lungs"] or {})) == ["left", "top", "right", "bottom"]  # type: ignore[call-overload]


def test_screen_command_says_that_a_film_ends_at_the_edge_of_the_lungs(tmp_path: Path) -> None:
    film = draw_phantom(8, width=901, height=733)
    paths = [tmp_path / "film.png", tmp_path / "middle.png"]
    for path, picture in zip(paths, (film, film.crop((158, 128, 743, 605))), strict=True):
        path.write_bytes(encoded(picture, "PNG"))
    documents = screen_files(make_settings(tmp_path / "data"), paths)
    assert [document["lungs_cut_off"] for document in documents] == [False, True]
    lines = screened_text(documents).splitlines()
    assert ["the film ends at the edge of the lungs" in line for line in lines[:2]] == [False, True]
