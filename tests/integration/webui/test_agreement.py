"""The page and the files that say how readers agree and what the model misses."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.filling import follow, known_reader, make_patients, read_twice
from tests.integration.webui.night import Night, copies
from tests.signing_in import bearer, sign_in
from worker.config import ROOT
from worker.ledger import review, users
from worker.ledger.findings import Finding, Seen, Statement
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.roles import Role, Scope
from worker.ledger.session import ledger_time
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image, User
from worker.report.reading_figures_formats import COLUMNS

SIGNS, NO_SIGNS = Finding.SIGNS, Finding.NO_SIGNS
BLIND = Protocol(Shown.AFTER_DECISION, Shown.AFTER_DECISION, 2)
UNSEEN = Seen(score_shown=False)
# The default share holds for the images of the fixture, which were scored before.
ONE_READER = Protocol(Shown.AFTER_DECISION, Shown.AFTER_DECISION)


@pytest.fixture
def ada(app: Flask, night: Night) -> FlaskClient:
    make_patients(night.ledger)
    return sign_in(app.test_client(), night.ledger, "Ada", {Role.READER})


def accept(night: Night, folder: Path, count: int) -> list[int]:
    """Return the ids of new flagged images of patients."""
    ids = [item.image_id for item in night.accept(copies(folder, count), run="study")]
    night.score(dict.fromkeys(ids, 0.9))
    make_patients(night.ledger)
    return ids


def decide(night: Night, image_id: int, finding: Finding, name: str = "Ada") -> None:
    reader_id = known_reader(night.ledger, name)
    with night.ledger.transaction() as session:
        review.decide(
            session,
            image_id,
            reader_id=reader_id,
            statement=Statement(finding),
            at=ledger_time(session),
            seen=UNSEEN,
            adjudicates=name == "Chen",
        )


def draw(night: Night, *image_ids: int) -> None:
    with night.ledger.transaction() as session:
        values = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id.in_(image_ids)).values(**values))


def document(client: FlaskClient) -> Any:
    return client.get("/api/v1/agreement").get_json()


def table(client: FlaskClient) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get("/api/v1/agreement?format=csv").text)))


def test_page_says_why_nothing_is_known(ada: FlaskClient) -> None:
    page = ada.get("/agreement").text
    assert "No image was read by two people yet. The reading protocol asks for one reader." in page
    assert "There is no run that can be counted." in page
    assert "Not read to the end: 1 run: " in page
    assert (document(ada)["missed"]["why_not"], document(ada)["missed"]["cases"]) == (
        "There is no run that can be counted.", None
    )  # fmt: skip


def test_agreement_and_disagreements_are_shown(night: Night, ada: FlaskClient, phantom_folder: Path) -> None:
    ids = accept(night, phantom_folder, 12)
    follow(night.ledger, BLIND)
    for number, image_id in enumerate(ids):
        read_twice(
            night.ledger,
            image_id,
            SIGNS if number < 6 else NO_SIGNS,
            SIGNS if number < 9 else NO_SIGNS,
            UNSEEN,
        )
    decide(night, ids[6], SIGNS, "Chen")
    decide(night, ids[7], NO_SIGNS, "Chen")
    said = document(ada)["agreement"]
    assert (said["pairs"], said["score_first"], said["raw"]["value"], said["kappa"]["value"]) == (
        12,
        0,
        0.75,
        0.5,
    )
    assert said["table"][:2] == [[6, 0, 0, 0], [3, 3, 0, 0]]
    assert said["disagreements"] == {
        "number": 3, "as_first": 1, "as_second": 1, "otherwise": 0, "waiting": 1, "not_adjudicated": 0
    }  # fmt: skip
    assert [two["readers"] for two in said["readers"]] == [["Ada", "Ben"]]
    page = ada.get("/agreement").text
    assert "12 images, each read by two people" in page
    assert "75.0 %" in page
    assert 'id="seen-first"' not in page
    assert "Ada and Ben" in page


def test_figures_of_few_images_are_not_shown(night: Night, ada: FlaskClient, phantom_folder: Path) -> None:
    ids = accept(night, phantom_folder, 10)
    follow(night.ledger, BLIND)
    for image_id in ids[:9]:
        read_twice(night.ledger, image_id, SIGNS, NO_SIGNS)
    said = document(ada)["agreement"]
    assert (said["pairs"], said["table"], said["raw"], said["disagreements"], said["readers"]) == (
        9, None, None, None, []
    )  # fmt: skip
    assert "Figures of fewer than 10 images are not shown" in ada.get("/agreement").text
    assert {row["figure"] for row in table(ada) if row["part"] == "agreement"} == {"pairs", "left_out"}
    read_twice(night.ledger, ids[9], SIGNS, NO_SIGNS)
    assert document(ada)["agreement"]["raw"]["value"] == 0


def test_readings_after_a_score_are_marked(night: Night, ada: FlaskClient, phantom_folder: Path) -> None:
    ids = accept(night, phantom_folder, 10)
    follow(night.ledger, Protocol(readers=2))
    for number, image_id in enumerate(ids):
        read_twice(night.ledger, image_id, SIGNS, SIGNS, Seen(score_shown=number < 4))
    page = ada.get("/agreement").text
    assert "for 4 images of 10, a reader may have seen the score first" in page
    assert "Their readers may have followed the score" in page


def read_the_night(night: Night, drawn: int, missed: Sequence[int] = ()) -> None:
    """Read the run of the fixture to the end: images 1 to 6, of which the first four have signs, and the drawn one."""
    draw(night, drawn)
    for image_id in range(1, 7):
        decide(night, image_id, SIGNS if image_id < 5 else NO_SIGNS)
    decide(night, drawn, SIGNS if drawn in missed else NO_SIGNS)


@pytest.mark.parametrize("protocol", [ONE_READER, None])
def test_missed_cases_are_estimated_from_drawn_images(
    night: Night, ada: FlaskClient, protocol: Protocol | None
) -> None:
    if protocol:
        follow(night.ledger, protocol)
    read_the_night(night, 7, missed=[7])
    said = document(ada)["missed"]
    assert (said["share_drawn"], said["clear"], said["recognisable"]) == (0.05, 2, protocol is None)
    assert (said["sample"]["with_signs"], said["flagged_or_uncertain"]["with_signs"]) == (1, 4)
    assert (said["cases"]["value"], said["cases"]["low"], said["cases"]["high"]) == (2, 1, 2)
    assert said["sensitivity"]["value"] == pytest.approx(4 / 6)
    page = ada.get("/agreement").text
    assert "66.7 %" in page
    assert ("could recognise a drawn image by its hidden score" in page) == (protocol is None)
    assert ("score first" in page) == (protocol is None)


def test_no_number_tells_what_an_unread_drawn_image_is(night: Night, ada: FlaskClient) -> None:
    read_the_night(night, 8)
    seen = []
    for drawn, other in ((7, 6), (6, 7)):
        with night.ledger.transaction() as session:
            session.get_one(Image, other).review_state = ReviewState.READ
            session.get_one(Image, drawn).review_state = ReviewState.DRAWN
        assert document(ada)["missed"]["cases"] is None
        seen.append({**document(ada), "written_at": ""})
    assert seen[0] == seen[1]


def test_people_who_may_not_see_images_get_no_names(
    app: Flask, night: Night, ada: FlaskClient, phantom_folder: Path
) -> None:
    follow(night.ledger, BLIND)
    for image_id in accept(night, phantom_folder, 10):
        read_twice(night.ledger, image_id, SIGNS, SIGNS)
    auditor = sign_in(app.test_client(), night.ledger, "Olga", {Role.AUDITOR})
    admin = sign_in(app.test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})
    assert "Ada and Ben" in admin.get("/agreement").text
    assert admin.get("/api/v1/agreement").status_code == 403
    for text in (auditor.get("/agreement").text, auditor.get("/api/v1/agreement?format=csv").text):
        assert "reader " in text
        assert "Ben" not in text
    headers = bearer(night.ledger, {Scope.REPORTS_READ})
    assert app.test_client().get("/api/v1/agreement", headers=headers).status_code == 200


def test_table_is_safe_in_a_spreadsheet_and_documented(
    night: Night, ada: FlaskClient, phantom_folder: Path
) -> None:
    known_reader_id = known_reader(night.ledger, "Ben")
    follow(night.ledger, BLIND)
    for image_id in accept(night, phantom_folder, 10):
        read_twice(night.ledger, image_id, SIGNS, SIGNS)
    with night.ledger.transaction() as session:
        ben = session.get_one(User, known_reader_id)
        users.rename(session, ben, "=HYPERLINK(1)", actor="user:1", at=ledger_time(session))
    rows = table(ada)
    assert tuple(rows[0]) == COLUMNS
    assert {row["other_reader"] for row in rows} == {"", "'=HYPERLINK(1)"}
    kappa = next(row for row in rows if row["figure"] == "kappa")
    assert (kappa["images"], kappa["value"]) == ("10", "")
    assert kappa["why_not"].startswith("Both readers gave every image the same finding")
    documented = (ROOT / "docs" / "reading.md").read_text()
    assert [name for name in COLUMNS if f"| `{name}` |" not in documented] == []
    answer = ada.get("/api/v1/agreement?format=csv")
    assert answer.headers["Content-Disposition"] == "attachment; filename=nightread-agreement.csv"
    assert ada.get("/api/v1/agreement?format=xml").status_code == 400


@pytest.mark.parametrize("address", ["/protocol", "/models", "/review/summary"])
def test_pages_lead_to_the_figures(ada: FlaskClient, address: str) -> None:
    assert 'href="/agreement"' in ada.get(address).text
