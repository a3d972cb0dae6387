"""The page Models in a browser: no script needed, nothing refused, one click takes the whole SHA-256."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site
from tests.integration.webui.night import MODEL_SHA256

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.browser


def test_a_prevalence_is_chosen_without_script(site: Site, open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    page.goto(f"{site.url}/review/1")
    page.get_by_text("How it was scored").click()
    page.get_by_role("link", name="nightread 0.1.0").click()
    expect(page).to_have_url(f"{site.url}/models/{MODEL_SHA256}")
    page.get_by_label("Prevalence of pneumonia").fill("50")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(f"{site.url}/models/{MODEL_SHA256}?prevalence=50#expected")
    row = page.locator(".expected tbody tr").filter(has_text="balanced")
    called, missed = (row.locator(f"td[data-label='Pneumonia, {what}']") for what in ("called", "missed"))
    assert int(called.inner_text()) + int(missed.inner_text()) == 500
    expect(page.get_by_label("Prevalence of pneumonia")).to_be_in_viewport()


def test_a_click_takes_the_whole_sha256(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    page.goto(f"{site.url}/models")
    page.locator("code.whole").first.click()
    assert page.evaluate("getSelection().toString()") == MODEL_SHA256


@pytest.mark.parametrize("width", [390, 1280])
def test_the_diagrams_lie_within_the_page(site: Site, open_page: OpenPage, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    page.goto(f"{site.url}/models")
    charts = page.locator("svg.chart")
    expect(charts).to_have_count(3)
    for chart in charts.all():
        for text in chart.locator("text").all():
            box, within = text.bounding_box(), chart.bounding_box()
            assert box is not None
            assert within is not None
            assert within["x"] - 1 <= box["x"]
            assert box["x"] + box["width"] <= within["x"] + within["width"] + 1
