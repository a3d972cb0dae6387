"""The workbench of thresholds: figures of the card and of the read cases, as a page, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select, update

from tests.filling import follow, known_reader, make_patients
from tests.integration.webui.night import Night, open_night
from tests.signing_in import sign_in
from webui import create_app
from worker.ledger import review
from worker.ledger.findings import Finding, Seen, Statement
from worker.ledger.protocols import Protocol
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.states import ReviewState
from worker.ledger.tables import AccessRecord, Image

PAGE = "/thresholds/workbench"


@pytest.fixture
def ada(app: Flask, night: Night) -> FlaskClient:
    make_patients(night.ledger)
    return sign_in(app.test_client(), night.ledger, "Ada", {Role.READER})


def read_all(night: Night, *, drawn: bool = True) -> None:
    """Read the images 1 to 6, of which all but the sixth have signs; image 7, one of two clear ones, is drawn and has none."""
    if drawn:
        with night.ledger.transaction() as session:
            sample = update(Image).where(Image.id == 7)
            session.execute(sample.values(review_state=ReviewState.DRAWN, drawn_rank=0.5))
    reader_id = known_reader(night.ledger, "Ben")
    for image_id in range(1, 8 if drawn else 7):
        said = Statement(Finding.SIGNS if image_id < 6 else Finding.NO_SIGNS)
        with night.ledger.transaction() as session:
            seen = Seen(open_ms=20_000)
            at = ledger_time(session)
            review.decide(session, image_id, reader_id=reader_id, statement=said, at=at, seen=seen)


def figures(client: FlaskClient, **parameters: object) -> Any:
    return client.get(f"{PAGE}/figures", query_string=parameters).get_json()


def table(client: FlaskClient, name: str, **parameters: object) -> list[dict[str, str]]:
    text = client.get(f"{PAGE}/{name}.csv", query_string=parameters).text
    return list(csv.DictReader(io.StringIO(text)))


def test_page_shows_card_and_site_side_by_side(night: Night, ada: FlaskClient) -> None:
    read_all(night)
    page = ada.get(PAGE).text
    for words in (
        "Card: Children",
        "900 images of 450 patients",
        'value="0.62"',
        "8 images of the latest run",
    ):
        assert words in page
    # One clear image was drawn and read, of two.
    assert '<td class="n" data-label="Weight of each">2</td>' in page
    assert "62.5 % of the images have signs" in page
    assert "7 readings followed a protocol that shows scores first" in page
    assert 'name="seconds" min="0" max="86400" step="any" value="20"' in page
    assert 'id="marker-site"' in page
    assert "Name of this point" not in page


def test_figures_follow_the_address(night: Night, ada: FlaskClient) -> None:
    read_all(night)
    said = figures(ada, threshold=0.5, band_low=0.4, band_high=0.65, images=100, seconds=30, prevalence=20)
    texts = said["texts"]
    assert texts["site-sensitivity-value"] == texts["site-specificity-value"] == "100.0 %"
    assert texts["site-flagged-value"] == "50.0 %"
    assert texts["site-uncertain-value"] == "25.0 %"
    # Three in four are read, and a twentieth of the rest.
    assert texts["site-images_to_read-value"] == "76"
    assert texts["site-reading_s-value"] == "38 min"
    assert said["markers"]["site"] == {"x": 48.0, "y": 8.0}
    higher = figures(ada, threshold=0.93, band_low=0.4, band_high=0.97)
    assert higher["texts"]["site-sensitivity-value"] == "60.0 %"
    assert higher["texts"]["site-flagged-value"] == "12.5 %"
    assert higher["markers"]["card"] != said["markers"]["card"]


def test_other_ends_make_way_for_the_one_that_was_moved(ada: FlaskClient) -> None:
    band = {"band_low": "0.4", "threshold": "0.5", "band_high": "0.6"}
    fields = figures(ada, **(band | {"threshold": "0.2"}), moved="threshold")["fields"]
    assert [fields[name] for name in band] == ["0.2", "0.2", "0.6"]
    fields = figures(ada, **(band | {"band_low": "0.9"}), moved="band_low")["fields"]
    assert [fields[name] for name in band] == ["0.9", "0.9", "0.9"]
    answer = ada.get(PAGE, query_string={**band, "threshold": "0.2"})
    assert answer.status_code == 400
    assert "in this order" in answer.text


def test_shown_number_stands_for_the_exact_one_of_the_card(ada: FlaskClient, night: Night) -> None:
    """A field shows six decimals. Sent back, they mean the number with all of its digits."""
    with night.ledger.transaction() as session:
        image = session.get_one(Image, 1)
        model = image.predictions[0].model
        third = {"threshold": 1 / 3, "band_low": 0.2, "band_high": 2 / 3}
        model.card = {
            **model.card,
            "operating_points": {"thirds": third},
            "default_operating_point": "thirds",
        }
    (row, *_) = table(ada, "figures", threshold="0.333333", band_low="0.2", band_high="0.666667")
    assert (row["threshold"], row["band_high"]) == (repr(1 / 3), repr(2 / 3))
    (row, *_) = table(ada, "figures", threshold="0.333334", band_low="0.2", band_high="0.666667")
    assert row["threshold"] == "0.333334"


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"threshold": "2"}, "The threshold must be a number from 0 to 1."),
        ({"band_low": "x"}, "The lower end of the band must be a number from 0 to 1."),
        ({"images": "1e9"}, "The field images a night must be a number from 0 to 1,000,000."),
        ({"prevalence": "101"}, "The prevalence must be a percentage from 0 to 100."),
        ({"seconds": "nan"}, "The field seconds an image must be a number from 0 to 86,400."),
    ],
)
def test_number_that_cannot_work_is_refused_with_a_sentence(
    ada: FlaskClient, wrong: dict[str, str], sentence: str
) -> None:
    answer = ada.get(f"{PAGE}/figures", query_string=wrong, headers={"Accept": "application/json"})
    assert answer.status_code == 400
    assert answer.get_json()["error"] == sentence


def test_without_a_sample_nothing_is_invented(night: Night, ada: FlaskClient) -> None:
    read_all(night, drawn=False)
    texts = figures(ada)["texts"]
    assert texts["site-sensitivity-value"] == texts["site-ppv-value"] == "not known"
    assert "no clear image of a random sample was read" in texts["site-sensitivity-why-not"]
    assert texts["site-flagged-value"] != "not known"
    assert figures(ada)["markers"]["site"] == {"x": None, "y": None}


def test_before_any_run_is_read_the_page_says_so(ada: FlaskClient) -> None:
    page = ada.get(PAGE).text
    assert page.count("no run is read to the end") == 1
    assert "This site's read cases" not in page
    assert "Card: Children" in page
    assert figures(ada)["texts"]["site-flagged-value"] == "not known"
    assert table(ada, "cases") == []


def test_without_a_model_nothing_is_known(tmp_path: Path) -> None:
    night = open_night(tmp_path / "empty")
    client = sign_in(create_app(night.settings).test_client(), night.ledger)
    assert "No models yet" in client.get(PAGE).text
    for name in ("figures", "figures.csv", "cases.csv"):
        assert client.get(f"{PAGE}/{name}").status_code == 409
    night.ledger.close()


def test_csv_of_the_figures_has_all_digits(night: Night, ada: FlaskClient) -> None:
    read_all(night)
    rows = {(row["of"], row["figure"]): row for row in table(ada, "figures", threshold=0.93, band_high=0.95)}
    assert float(rows["site", "sensitivity"]["value"]) == 3 / 5
    assert rows["children", "sensitivity"]["images"] == "900"
    assert float(rows["children", "sensitivity"]["low"]) < float(rows["children", "sensitivity"]["value"])


def test_read_cases_are_downloaded_with_weights_and_on_record(night: Night, ada: FlaskClient) -> None:
    read_all(night)
    rows = table(ada, "cases")
    assert [row["label"] for row in rows] == ["pneumonia"] * 5 + ["normal"] * 2
    assert [row["weight"] for row in rows] == ["1.0"] * 6 + ["2.0"]
    assert rows[0]["score"] == "0.97"
    with night.ledger.reading() as session:
        image = session.get_one(Image, 1)
        assert rows[0]["file"] == f"images/{image.sha256[:2]}/{image.sha256}"
        exports = session.scalars(select(AccessRecord).where(AccessRecord.kind == "export")).all()
        assert [access.code for access in exports] == ["read_cases"]


def test_administrator_can_go_on_to_the_preview(app: Flask, night: Night) -> None:
    follow(night.ledger, Protocol(sample_share=0))
    eve = sign_in(app.test_client(), night.ledger, "Eve", {Role.ADMINISTRATOR})
    page = eve.get(PAGE, query_string={"threshold": "0.5", "band_low": "0.15", "band_high": "0.5"}).text
    assert '<input type="hidden" name="band_low" data-of="band_low" value="0.15">' in page
    assert "Read cases as CSV" not in page
    assert eve.get(f"{PAGE}/cases.csv").status_code == 403
    tried = {"point": ":new", "name": "ours", "threshold": "0.5", "band_low": "0.15", "band_high": "0.5"}
    assert "Of 8 unread images" in eve.get("/thresholds", query_string=tried).text


def test_preview_counts_only_for_who_may_change_points(ada: FlaskClient) -> None:
    """To count takes a second for 100,000 unread images."""
    page = ada.get("/thresholds?point=screen").text
    assert "What would change" in page
    assert "unread images, <strong>" not in page
