"""Models: what scores here, its card to be read, and what to expect at a prevalence of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.cards import a_card
from tests.integration.webui.night import MODEL_SHA256, Night, begin
from tests.integration.webui.test_api import as_described
from webui import create_app
from webui.dependencies import EXTENSION
from worker import DISCLAIMER
from worker.ledger import predictions
from worker.ledger.session import utc_now

OTHER = "0" * 64


def words(page: str) -> str:
    """What is read on a page."""
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def register(night: Night, sha256: str, card: dict[str, Any]) -> None:
    with night.ledger.transaction() as session:
        predictions.register_model(
            session,
            sha256=sha256,
            name="other",
            version="9.9 <b>",
            card=card,
            point={"threshold": 0.5, "band_low": 0.4, "band_high": 0.6},
            point_name="balanced",
            at=utc_now(),
        )


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[FlaskClient]:
    """A page whose ledger knows no model."""
    night = begin(tmp_path / "data")
    app = create_app(night.settings)
    yield app.test_client()
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()


def test_what_it_is_for_and_its_limits_come_before_any_figure(onlooker: FlaskClient) -> None:
    page = words(onlooker.get("/models").text)
    card = a_card()
    places = [
        page.index(text) for text in (card["intended_use"], card["not_for"][0], card["limits"][0], "AUC 0.9")
    ]
    assert places == sorted(places)
    for limit in card["limits"]:
        assert limit in page


def test_figures_stand_with_their_intervals(onlooker: FlaskClient) -> None:
    page = words(onlooker.get("/models").text)
    for name in ("children", "adults"):
        figures = a_card()["metrics"][name]
        low, high = figures["auc_ci"]
        assert f"{figures['auc']:.3f} {low:.3f}–{high:.3f}" in page  # noqa: RUF001
    assert "75+ 10 too few to say" in page
    assert "stressed: each image in variants" in page.lower()


def test_the_model_its_use_and_its_whole_sha256(onlooker: FlaskClient) -> None:
    html = onlooker.get("/models").text
    assert f'<code class="whole">{MODEL_SHA256}</code>' in html
    assert "nightread 0.1.0 in use" in words(html)
    assert re.search(r"UTC 8 balanced 5f5f", words(html))
    assert f'href="/models/{MODEL_SHA256}"' in onlooker.get("/review/1").text
    assert 'href="/models" aria-current="page"' in html


def test_the_curves_are_drawn_from_the_card_with_the_points_on_them(onlooker: FlaskClient) -> None:
    html = onlooker.get("/models").text
    assert html.count('<svg class="chart"') == 3
    for name, point in a_card()["operating_points"].items():
        assert (
            f"{name}: sensitivity {point['sensitivity']:.3f}, specificity {point['specificity']:.3f}." in html
        )
    assert re.search(r'class="marker default" cx="[\d.]+" cy="[\d.]+"', html)
    assert re.search(r'class="point default"[^>]*>balanced, default<', html)


def test_a_prevalence_of_ones_own(onlooker: FlaskClient) -> None:
    point = a_card()["operating_points"]["balanced"]
    found = round(200 * point["sensitivity"])
    called = round(800 * (1 - point["specificity"]))
    page = words(onlooker.get("/models?prevalence=20").text)
    assert f"balanced {found} {200 - found} {called} {800 - called} " in page
    assert 'value="20"' in onlooker.get("/models?prevalence=20").text
    assert 'value="0.5"' in onlooker.get("/models?prevalence=0,5").text
    wrong = onlooker.get("/models?prevalence=most")
    assert wrong.status_code == 400
    assert "The prevalence is a number of per cent, from 0 to 100." in wrong.text


def test_the_default_and_the_point_used_here_are_told_apart(client: FlaskClient, night: Night) -> None:
    html = client.get("/models").text
    assert "balanced default used here 0.500" in words(html)
    assert html.count("used here") == 1
    register(night, OTHER, {**a_card(OTHER), "default_operating_point": "screen"})
    page = words(client.get("/models").text)
    assert "screen default 0.300" in page
    assert "used here" not in page


def test_each_model_has_a_page_and_the_one_in_use_comes_first(client: FlaskClient, night: Night) -> None:
    register(night, OTHER, {**a_card(OTHER), "preliminary": True, "intended_use": "Only this."})
    html = client.get("/models").text
    assert "other 9.9 &lt;b&gt;" in html
    assert "9.9 <b>" not in html
    assert "Only this." in html
    assert "preliminary" in html
    earlier = client.get(f"/models/{MODEL_SHA256.upper()}").text
    assert a_card()["intended_use"] in words(earlier)
    assert "not in use now" in earlier
    assert "preliminary" not in earlier
    assert client.get("/models/never").status_code == 404
    assert "There is no model of this SHA-256." in client.get(f"/models/{'9' * 64}").text


STRANGE: tuple[dict[str, Any], ...] = (
    {},
    {"name": "old"},
    {
        "metrics": None,
        "limits": "text",
        "curves": [],
        "operating_points": {"x": 1},
        "data": 3,
        "training": [],
    },
    {"limits": [1, "One."], "intended_use": 5, "recipe": {"fit": None}, "files": {"a": "b"}},
)


def test_an_older_or_stranger_card_has_a_page(client: FlaskClient, night: Night) -> None:
    older = ({key: value for key, value in a_card().items() if key != missing} for missing in a_card())
    for number, card in enumerate((*STRANGE, *older)):
        sha256 = f"{number:064x}"
        register(night, sha256, card)
        answer = client.get(f"/models/{sha256}?prevalence=3")
        assert answer.status_code == 200, card
        assert "None" not in words(answer.text), card
        assert client.get(f"/api/v1/models/{sha256}").get_json()["card"] == card


def test_what_stands_on_a_card_is_text(client: FlaskClient, night: Night) -> None:
    evil = '<script>alert("x")</script>'
    card = a_card(OTHER) | {
        "intended_use": evil,
        "limits": [evil],
        "gate": {evil: evil},
        "recipe": {evil: {"a": evil}},
    }
    card |= {"metrics": {evil: a_card()["metrics"]["adults"]}, "curves": {evil: a_card()["curves"]["adults"]}}
    card |= {"operating_points": {evil: a_card()["operating_points"]["screen"]}, "operating_point_rule": evil}
    register(night, OTHER, card)
    html = client.get("/models").text
    assert "<script>alert" not in html
    assert html.count("&lt;script&gt;") > 8


def test_without_a_model_it_says_what_to_do(empty: FlaskClient) -> None:
    page = words(empty.get("/models").text)
    assert "No model has been used here yet." in page
    assert "nightread up" in page
    assert "NIGHTREAD_MODEL" in page
    assert as_described(empty.get("/api/v1/models"), "/api/v1/models")["models"] == []


def test_the_api_lists_the_models_and_gives_a_card(client: FlaskClient, night: Night) -> None:
    register(night, OTHER, {"name": "other"})
    document = as_described(client.get("/api/v1/models"), "/api/v1/models")
    assert document["disclaimer"] == DISCLAIMER
    assert [(each["sha256"], each["in_use"], each["scored"]) for each in document["models"]] == [
        (OTHER, True, 0),
        (MODEL_SHA256, False, 8),
    ]
    assert "card" not in document["models"][0]
    path = "/api/v1/models/{sha256}"
    one = as_described(client.get(f"/api/v1/models/{MODEL_SHA256}"), path)
    assert one["card"] == a_card(MODEL_SHA256)
    assert one["disclaimer"] == DISCLAIMER
    missing = client.get(f"/api/v1/models/{'9' * 64}")
    assert as_described(missing, path) == {"error": "There is no model of this SHA-256."}
    assert missing.status_code == 404
