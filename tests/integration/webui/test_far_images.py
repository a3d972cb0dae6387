"""Pages and API on images that are far from the training data."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.integration.webui.night import Night, copies, phantoms

FAR = "far from the training data"


def text_of(client: FlaskClient, address: str) -> str:
    return " ".join(client.get(address).text.replace("&#39;", "'").split())


@pytest.fixture
def far(night: Night, phantom_folder: Path) -> int:
    """An image whose score would be clear, at three times the limit."""
    (item,) = night.accept(phantoms(phantom_folder, [821]))
    night.score({item.image_id: 0.05}, distance=3.04)
    return item.image_id


def test_far_image_is_marked_and_in_the_queue(client: FlaskClient, far: int) -> None:
    page = text_of(client, f"/review/{far}")
    assert f">{FAR}</span>" in page
    assert "at 3.04 times the limit" in page
    assert "never" in page.split('class="small dim zones"')[1].split("</span>")[0]
    assert "<dt>Distance from the training data</dt><dd>3.04; the limit is 1</dd>" in page
    queue = text_of(client, "/review")
    assert queue.count(f">{FAR}</span>") == 1
    assert f'href="/review/{far}' in queue
    document = client.get(f"/api/v1/images/{far}").get_json()
    assert (document["verdict"], document["distance"]) == ("uncertain", 3.04)
    prediction = document["predictions"][0]
    assert (prediction["distance"], prediction["clear_below"]) == (3.04, 0)


def test_image_at_the_limit_is_not_marked(client: FlaskClient, night: Night, phantom_folder: Path) -> None:
    (item,) = night.accept(phantoms(phantom_folder, [822]))
    night.score({item.image_id: 0.7}, distance=1.0)
    page = text_of(client, f"/review/{item.image_id}")
    assert FAR not in page
    assert "<dt>Distance from the training data</dt><dd>1.00; the limit is 1</dd>" in page
    assert FAR not in text_of(client, "/review")


def test_run_counts_far_images(client: FlaskClient, night: Night, far: int, tmp_path: Path) -> None:
    sentence = "Far from the training data: {} scored images ({})."
    page = text_of(client, "/runs/1")
    assert f'<p id="distance"><span>{sentence.format("1 of 1", "100.0 %")}</span></p>' in page
    listed = client.get("/api/v1/runs").get_json()["runs"][0]
    assert (listed["distance_known"], listed["far_from_training_data"]) == (1, 1)
    items = night.accept(copies(tmp_path, 4))
    night.score({item.image_id: 0.05 for item in items}, distance=1.2)
    page = text_of(client, "/runs/1")
    assert (
        f'<p id="distance" class="message problem"><span>{sentence.format("5 of 5", "100.0 %")} The model'
        in page
    )


def test_metrics_count_far_images(client: FlaskClient, far: int) -> None:
    exposed = client.get("/metrics").text
    assert "nightread_distance_known 1.0" in exposed
    assert "nightread_far_from_training_data 1.0" in exposed


def test_models_that_say_no_distance_have_none_on_their_pages(shared_client: FlaskClient) -> None:
    for address in ("/review/1", "/review", "/runs/1"):
        assert "training data" not in text_of(shared_client, address)
    assert shared_client.get("/api/v1/images/1").get_json()["distance"] is None
