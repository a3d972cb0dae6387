"""Pages and API on patients outside the model's population, and of unknown age."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.filling import give_age
from tests.integration.webui.night import Night, copies, phantoms
from worker.ledger.tables import Study

OUTSIDE = "outside the model's population"


def text_of(client: FlaskClient, address: str) -> str:
    return " ".join(client.get(address).text.replace("&#39;", "'").split())


@pytest.fixture
def adult(night: Night, phantom_folder: Path) -> int:
    """An image of a person of 40 years, whose score would be clear."""
    (item,) = night.accept(phantoms(phantom_folder, [820]))
    give_age(night.ledger, item.image_id, 40)
    night.score({item.image_id: 0.05}, population="outside")
    return item.image_id


def test_adult_is_marked_and_in_the_queue(client: FlaskClient, adult: int) -> None:
    page = text_of(client, f"/review/{adult}")
    assert f"The patient is 40 years old, {OUTSIDE}." in page
    assert "never" in page.split('class="small dim zones"')[1].split("</span>")[0]
    assert f">{OUTSIDE}</span>" in page
    queue = text_of(client, "/review")
    assert queue.count(f">{OUTSIDE}</span>") == 1
    assert f'href="/review/{adult}' in queue
    document = client.get(f"/api/v1/images/{adult}").get_json()
    assert (document["verdict"], document["population"]) == ("uncertain", "outside")
    prediction = document["predictions"][0]
    assert (prediction["population"], prediction["clear_below"]) == ("outside", 0)


def test_unknown_age_that_counts_as_outside_says_so(client: FlaskClient, night: Night, adult: int) -> None:
    with night.ledger.transaction() as session:
        session.execute(update(Study).values(age_years=None))
    assert "The age of the patient is not known, and counts as outside" in text_of(client, f"/review/{adult}")


def test_site_without_ages_reads_one_line_on_image_and_run(
    client: FlaskClient, night: Night, tmp_path: Path
) -> None:
    items = night.accept(copies(tmp_path, 3), run="without ages")
    night.score({item.image_id: 0.9 for item in items}, population="unknown")
    page = text_of(client, f"/review/{items[0].image_id}")
    assert page.count("The age of the patient is not known") == 1
    assert OUTSIDE not in page
    run = text_of(client, "/runs/2")
    assert "Patients of the scored images: 3 of unknown age." in run
    assert "of the patient is not known" not in text_of(client, "/review")
    listed = client.get("/api/v1/runs").get_json()["runs"][0]
    assert (listed["outside_population"], listed["unknown_age"]) == (0, 3)


def test_run_counts_patients_outside(client: FlaskClient, adult: int) -> None:
    assert f"Patients of the scored images: 1 {OUTSIDE}." in text_of(client, "/runs/1")


def test_earlier_predictions_say_nothing(shared_client: FlaskClient) -> None:
    for address in ("/review/1", "/runs/1", "/review"):
        page = text_of(shared_client, address)
        assert 'id="population' not in page
        assert OUTSIDE not in page


def test_models_page_states_the_population(shared_client: FlaskClient) -> None:
    assert "The figures hold for patients of 1 to 5 years." in text_of(shared_client, "/models")
