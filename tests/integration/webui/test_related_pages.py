"""The row of links that the pages about models share."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from tests.integration.webui.night import MODEL_SHA256

ADDRESSES = (
    "/models",
    "/models/compare",
    "/thresholds",
    "/thresholds/workbench",
    "/thresholds/calibration",
    "/monitor",
    "/agreement",
)


@pytest.mark.parametrize("address", [*ADDRESSES, f"/models/{MODEL_SHA256}"])
def test_pages_about_models_lead_to_each_other(client: FlaskClient, address: str) -> None:
    page = client.get(address).text
    (row,) = re.findall(r'<nav class="related" aria-label="About models">(.*?)</nav>', page, re.DOTALL)
    assert re.findall(r'href="([^"]+)"', row) == list(ADDRESSES)
    here = "/models" if address.endswith(MODEL_SHA256) else address
    assert re.findall(r'href="([^"]+)" aria-current="page"', row) == [here]


@pytest.mark.parametrize("address", ADDRESSES)
def test_menu_marks_models_on_the_pages_about_models(client: FlaskClient, address: str) -> None:
    menu = client.get(address).text.split('<nav aria-label="Pages">')[1].split("</nav>")[0]
    assert re.findall(r'aria-current="page">(\w+)<', menu) == ["Models"]
