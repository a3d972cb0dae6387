"""The page Models and the models of the API."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from tests.cards import a_card
from tests.integration.webui.night import MODEL_SHA256, Night, open_night
from tests.integration.webui.test_api import checked_document
from tests.signing_in import signed_in_client
from webui import create_app
from webui.dependencies import EXTENSION
from webui.expected_counts import expected_clear
from worker import DISCLAIMER
from worker.card.identity import model_sha256
from worker.card.reading import read_card
from worker.config import Settings
from worker.ledger import predictions
from worker.ledger.session import utc_now
from worker.ledger.tables import Model

OTHER = "0" * 64


def visible_text(page: str) -> str:
    """Return the text of a page without its markup."""
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
    """A client of an application whose ledger has no model."""
    night = open_night(tmp_path / "data")
    app = create_app(night.settings)
    yield signed_in_client(app)
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()


def test_intended_use_and_limits_come_before_figures(shared_client: FlaskClient) -> None:
    page = visible_text(shared_client.get("/models").text)
    card = a_card()
    positions = [
        page.index(text) for text in (card["intended_use"], card["not_for"][0], card["limits"][0], "AUC 0.9")
    ]
    assert positions == sorted(positions)
    for limit in card["limits"]:
        assert limit in page


def test_figures_have_their_intervals(shared_client: FlaskClient) -> None:
    page = visible_text(shared_client.get("/models").text)
    for name in ("children", "adults"):
        figures = a_card()["metrics"][name]
        low, high = figures["auc_ci"]
        assert f"{figures['auc']:.3f} {low:.3f}–{high:.3f}" in page  # noqa: RUF001
    assert "75+ 10 too few images" in page
    assert "stressed: each image in variants" in page.lower()


def test_splits_that_hurt_have_their_figures(shared_client: FlaskClient) -> None:
    page = visible_text(shared_client.get("/models").text)
    given = a_card()["splits"]
    found = given["held_out"]["framing_lies"]["stressed"]
    figures = {name: (found[name], *found[f"{name}_ci"]) for name in ("auc", "recall")}
    figures_text = " ".join(
        f"{value:.3f} {low:.3f}–{high:.3f}"  # noqa: RUF001
        for value, low, high in figures.values()
    )
    assert f"Framing lies, stressed 200 of 100 patients {figures_text}" in page
    assert "framing lies: the images of each class that look most like the other" in page
    worst = given["lowest"]["balanced"]
    assert (
        f"balanced {100 * worst['sensitivity']:.1f} % in shortcut lies, restyled "
        f"{100 * worst['specificity']:.1f} % in children, stressed"
    ) in page


def test_active_model_has_its_full_sha256(shared_client: FlaskClient) -> None:
    html = shared_client.get("/models").text
    assert f'<code class="whole">{MODEL_SHA256}</code>' in html
    assert "nightread 0.1.0 active" in visible_text(html)
    assert re.search(r"UTC 8 balanced 5f5f", visible_text(html))
    assert f'href="/models/{MODEL_SHA256}"' in shared_client.get("/review/1").text
    assert 'href="/models" aria-current="page"' in html


def test_curves_and_operating_points_are_drawn(shared_client: FlaskClient) -> None:
    html = shared_client.get("/models").text
    assert html.count('<svg class="chart"') == 3
    for name, point in a_card()["operating_points"].items():
        assert (
            f"{name}: sensitivity {point['sensitivity']:.3f}, specificity {point['specificity']:.3f}." in html
        )
    assert re.search(r'class="marker default" cx="[\d.]+" cy="[\d.]+"', html)
    assert re.search(r'class="point default"[^>]*>balanced, default<', html)


def test_expected_counts_follow_the_prevalence(shared_client: FlaskClient) -> None:
    point = a_card()["operating_points"]["balanced"]
    true_positives = round(200 * point["sensitivity"])
    false_positives = round(800 * (1 - point["specificity"]))
    page = visible_text(shared_client.get("/models?prevalence=20").text)
    assert (
        f"balanced {true_positives} {200 - true_positives} {false_positives} {800 - false_positives} " in page
    )
    assert 'value="20"' in shared_client.get("/models?prevalence=20").text
    assert 'value="0.5"' in shared_client.get("/models?prevalence=0,5").text
    invalid = shared_client.get("/models?prevalence=most")
    assert invalid.status_code == 400
    assert "The prevalence must be a percentage from 0 to 100." in invalid.text


def test_clear_images_are_counted_where_a_band_is_read(client: FlaskClient, night: Night) -> None:
    page = visible_text(client.get("/models?prevalence=20").text)
    found = expected_clear(read_card(a_card()), 0.4, 0.2)
    assert found is not None
    with_pneumonia, without = (
        " to ".join(map(str, sorted(set(ends)))) for ends in (found.with_pneumonia, found.without_pneumonia)
    )
    assert (
        f"a person reads the uncertain ones; by the card's curve Children , {with_pneumonia} of the 200 with pneumonia "
        f"and {without} of the 800 without are clear ."
    ) in page
    no_band = copy.deepcopy(a_card(OTHER))
    no_band["operating_points"]["balanced"].update(band_low=0.5, band_high=0.5)
    register(night, OTHER, no_band)
    other = visible_text(client.get(f"/models/{OTHER}").text)
    assert "At its threshold of 0.50" in other
    assert "uncertain ones" not in other


def test_default_and_used_operating_points_are_marked(client: FlaskClient, night: Night) -> None:
    html = client.get("/models").text
    assert "balanced default in force 0.500" in visible_text(html)
    assert (html.count(">active<"), html.count(">in force<")) == (1, 1), "the model, and its operating point"
    register(night, OTHER, {**a_card(OTHER), "default_operating_point": "screen"})
    html = client.get("/models").text
    assert "screen default 0.300" in visible_text(html)
    assert (html.count(">active<"), html.count(">in force<")) == (1, 0), "only the model"


def test_each_model_has_a_page_and_the_active_one_is_first(client: FlaskClient, night: Night) -> None:
    register(night, OTHER, {**a_card(OTHER), "preliminary": True, "intended_use": "Only this."})
    html = client.get("/models").text
    assert "other 9.9 &lt;b&gt;" in html
    assert "9.9 <b>" not in html
    assert "Only this." in html
    assert "preliminary" in html
    earlier = client.get(f"/models/{MODEL_SHA256.upper()}").text
    assert a_card()["intended_use"] in visible_text(earlier)
    assert "not active" in earlier
    assert "preliminary" not in earlier
    assert client.get("/models/never").status_code == 404
    assert "There is no model with this SHA-256." in client.get(f"/models/{'9' * 64}").text


ODD_CARDS: tuple[dict[str, Any], ...] = (
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


@pytest.mark.slow
def test_incomplete_or_odd_card_has_a_page(client: FlaskClient, night: Night) -> None:
    older = ({key: value for key, value in a_card().items() if key != missing} for missing in a_card())
    for number, card in enumerate((*ODD_CARDS, *older)):
        sha256 = f"{number:064x}"
        register(night, sha256, card)
        answer = client.get(f"/models/{sha256}?prevalence=3")
        assert answer.status_code == 200, card
        assert "None" not in visible_text(answer.text), card
        assert client.get(f"/api/v1/models/{sha256}").get_json()["card"] == card


def test_text_of_a_card_is_escaped(client: FlaskClient, night: Night) -> None:
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


def test_page_without_models_says_what_to_do(empty: FlaskClient) -> None:
    page = visible_text(empty.get("/models").text)
    assert "No models yet." in page
    assert "nightread up" in page
    assert "NIGHTREAD_MODEL" in page
    assert checked_document(empty.get("/api/v1/models"), "/api/v1/models")["models"] == []


def test_api_lists_models_and_returns_a_card(client: FlaskClient, night: Night) -> None:
    register(night, OTHER, {"name": "other"})
    document = checked_document(client.get("/api/v1/models"), "/api/v1/models")
    assert document["disclaimer"] == DISCLAIMER
    assert [(model["sha256"], model["in_use"], model["scored"]) for model in document["models"]] == [
        (OTHER, True, 0),
        (MODEL_SHA256, False, 8),
    ]
    assert "card" not in document["models"][0]
    path = "/api/v1/models/{sha256}"
    one = checked_document(client.get(f"/api/v1/models/{MODEL_SHA256}"), path)
    assert one["card"] == a_card(MODEL_SHA256)
    assert one["disclaimer"] == DISCLAIMER
    missing = client.get(f"/api/v1/models/{'9' * 64}")
    assert checked_document(missing, path) == {"error": "There is no model with this SHA-256."}
    assert missing.status_code == 404


def test_model_that_is_not_shipped_is_not_verified(client: FlaskClient, night: Night) -> None:
    assert "Not verified: Nightread does not ship this model with this card." in client.get("/models").text
    assert client.get("/api/v1/models").get_json()["models"][0]["verified"] is False
    card = json.loads((Settings().model / "card.json").read_text(encoding="utf-8"))
    with night.ledger.transaction() as session:
        session.execute(update(Model).values(sha256=model_sha256(card), card=card))
    assert "Not verified" not in client.get("/models").text
    assert client.get("/api/v1/models").get_json()["models"][0]["verified"] is True
