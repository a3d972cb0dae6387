"""A night in which some chests arrive inverted or turned: each has its answer, and the books balance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from tests.conftest import make_settings
from tests.files import encoded
from tests.filling import assert_consistent, image
from tests.gates import DEFECTS, gated_bundle, ungated_bundle, with_defect
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.errors import REJECTIONS
from worker.intake.accept import Acceptor, Candidate
from worker.ledger import leases
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import Lane, Source
from worker.ledger.tables import AuditEvent, Prediction, Receipt
from worker.phantom import draw_phantom
from worker.screening import Screener, open_scorer
from worker.store import open_store


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gated_bundle(tmp_path_factory.mktemp("models") / "gated")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Name -> file: one sound chest, and one for each code."""
    folder, chest = tmp_path_factory.mktemp("files"), draw_phantom(3, width=500)
    images: dict[str, Image.Image] = {"sound": chest, **{code: with_defect(chest, code) for code in DEFECTS}}
    for name, picture in images.items():
        (folder / f"{name}.jpg").write_bytes(encoded(picture, "JPEG", quality=92))
    return {name: folder / f"{name}.jpg" for name in images}


def test_rotated_and_inverted_chests_are_rejected_by_the_gate(
    tmp_path: Path, ledger: Ledger, gated: Path, files: dict[str, Path]
) -> None:
    settings = make_settings(tmp_path / "data", model=gated)
    store = open_store(settings)
    candidates = []
    for path in files.values():
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        candidates.append(Candidate(copy, copy.name))
    acceptor = Acceptor(settings, ledger, store)
    taken = acceptor.accept(candidates, source=Source.IMPORT, lane=Lane.OVERNIGHT)
    ids = dict(zip(files, (row.image_id for row in taken), strict=True))
    screener = Screener(settings, ledger, store, open_scorer(settings))
    assert screener.screen(list(ids.values())) == len(ids)

    assert image(ledger, ids["sound"]).state == "scored"
    for code in DEFECTS:
        found = image(ledger, ids[code])
        assert (found.state, found.reason_code, found.reason) == ("rejected", code, REJECTIONS[code])
    with ledger.reading() as session:
        assert list(session.scalars(select(Prediction.image_id))) == [ids["sound"]], "no score for the others"
        assert len(list(session.scalars(select(Receipt.id)))) == len(files)
        reasons = [json.loads(event.payload).get("reason") for event in session.scalars(select(AuditEvent))]
    assert set(DEFECTS) <= set(reasons)
    counts = assert_consistent(ledger)
    assert (counts.received, counts.scored, counts.rejected, counts.pending) == (
        len(files),
        1,
        len(DEFECTS),
        0,
    )

    # A person tries one again: the gate holds it to the same rule, and the books still balance.
    with ledger.transaction() as session:
        leases.retry(
            session, ids["inverted"], who="user:1", why="the modality says it is sound", at=utc_now()
        )
    assert screener.screen([ids["inverted"]]) == 1
    again = image(ledger, ids["inverted"])
    assert (again.state, again.reason_code) == ("rejected", "inverted")
    assert assert_consistent(ledger).rejected == len(DEFECTS)


def test_screen_command_gives_the_reason_and_no_score(gated: Path, files: dict[str, Path]) -> None:
    documents = screen_files(Settings(model=gated), list(files.values()))
    assert [each["outcome"] for each in documents] == ["scored", *["rejected"] * len(DEFECTS)]
    assert [each["reason"] for each in documents] == [None, *(REJECTIONS[code] for code in DEFECTS)]
    assert json.loads(json.dumps(documents))[1]["p_pneumonia"] is None


def test_bundle_without_a_gate_scores_every_image(tmp_path: Path, files: dict[str, Path]) -> None:
    documents = screen_files(Settings(model=ungated_bundle(tmp_path / "bundle")), list(files.values()))
    assert {each["outcome"] for each in documents} == {"scored"}
