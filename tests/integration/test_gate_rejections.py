"""The gate rejects inverted and rotated chests, and all files are accounted for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from sqlalchemy import select

from tests.bundles import WHOLE_FILMS
from tests.conftest import make_settings
from tests.files import encoded
from tests.filling import assert_consistent, image
from tests.gates import DEFECTS, gated_bundle, ungated_bundle, with_defect
from worker.commands.screen_files import screen_files
from worker.config import Settings
from worker.errors import REJECTIONS
from worker.intake.accept import Acceptor
from worker.intake.source import Candidate
from worker.ledger import leases
from worker.ledger.session import Ledger, utc_now
from worker.ledger.states import Lane, Source
from worker.ledger.tables import AuditEvent, Prediction, Receipt
from worker.phantom import draw_phantom
from worker.screening import Screener, open_scorer
from worker.store import open_store


@pytest.fixture(scope="module")
def bundle_with_gate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gated_bundle(tmp_path_factory.mktemp("models") / "gated")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return name -> file: one normal chest, and one image for each rejection code."""
    folder, chest = tmp_path_factory.mktemp("files"), draw_phantom(3, width=500)
    images: dict[str, Image.Image] = {"normal": chest, **{code: with_defect(chest, code) for code in DEFECTS}}
    for name, drawing in images.items():
        (folder / f"{name}.jpg").write_bytes(encoded(drawing, "JPEG", quality=92))
    return {name: folder / f"{name}.jpg" for name in images}


def test_rotated_and_inverted_chests_are_rejected_by_the_gate(
    tmp_path: Path, ledger: Ledger, bundle_with_gate: Path, files: dict[str, Path]
) -> None:
    settings = make_settings(tmp_path / "data", model=bundle_with_gate)
    store = open_store(settings)
    candidates = []
    for path in files.values():
        copy = tmp_path / path.name
        copy.write_bytes(path.read_bytes())
        candidates.append(Candidate(copy, copy.name))
    acceptor = Acceptor(settings, ledger, store)
    accepted = acceptor.accept(candidates, source=Source.IMPORT, lane=Lane.OVERNIGHT)
    ids = dict(zip(files, (row.image_id for row in accepted), strict=True))
    screener = Screener(settings, ledger, store, open_scorer(settings))
    assert screener.screen(list(ids.values())) == len(ids)

    assert image(ledger, ids["normal"]).state == "scored"
    for code in DEFECTS:
        rejected = image(ledger, ids[code])
        assert (rejected.state, rejected.reason_code, rejected.reason) == ("rejected", code, REJECTIONS[code])
    with ledger.reading() as session:
        assert list(session.scalars(select(Prediction.image_id))) == [ids["normal"]], (
            "a rejected image has a prediction"
        )
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

    # A person retries one image: the gate rejects it again, and all files are still accounted for.
    with ledger.transaction() as session:
        leases.retry(
            session, ids["inverted"], who="user:1", why="the modality says it is sound", at=utc_now()
        )
    assert screener.screen([ids["inverted"]]) == 1
    retried = image(ledger, ids["inverted"])
    assert (retried.state, retried.reason_code) == ("rejected", "inverted")
    assert assert_consistent(ledger).rejected == len(DEFECTS)


def test_screen_command_gives_the_reason_and_no_score(bundle_with_gate: Path, files: dict[str, Path]) -> None:
    documents = screen_files(Settings(model=bundle_with_gate), list(files.values()))
    assert [document["outcome"] for document in documents] == ["scored", *["rejected"] * len(DEFECTS)]
    assert [document["reason"] for document in documents] == [None, *(REJECTIONS[code] for code in DEFECTS)]
    assert json.loads(json.dumps(documents))[1]["p_pneumonia"] is None


def test_bundle_without_a_gate_scores_every_image(tmp_path: Path, files: dict[str, Path]) -> None:
    bundle = ungated_bundle(tmp_path / "bundle", WHOLE_FILMS)
    documents = screen_files(Settings(model=bundle), list(files.values()))
    assert {document["outcome"] for document in documents} == {"scored"}
