"""The page Models in a browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, sign_in
from tests.integration.webui.night import MODEL_SHA256

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.browser


def test_prevalence_form_works_without_javascript(site: Site, open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    page.get_by_text("Prediction", exact=True).click()
    page.get_by_role("link", name="nightread 0.1.0").click()
    expect(page).to_have_url(f"{site.url}/models/{MODEL_SHA256}")
    page.get_by_label("Prevalence of pneumonia").fill("50")
    page.get_by_role("button", name="Show").click()
    expect(page).to_have_url(f"{site.url}/models/{MODEL_SHA256}?prevalence=50#expected")
    row = page.locator(".expected tbody tr").filter(has_text="balanced")
    positives, missed = (
        row.locator(f"td[data-label='{label}']") for label in ("True positives", "Missed (false negatives)")
    )
    assert int(positives.inner_text()) + int(missed.inner_text()) == 500
    expect(page.get_by_label("Prevalence of pneumonia")).to_be_in_viewport()


def test_click_selects_the_full_sha256(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/models")
    page.locator("code.whole").first.click()
    assert page.evaluate("getSelection().toString()") == MODEL_SHA256


@pytest.mark.parametrize("width", [390, 1280])
def test_labels_lie_inside_their_diagrams(site: Site, open_page: OpenPage, width: int) -> None:
    page = open_page(viewport={"width": width, "height": 800})
    sign_in(page, site)
    page.goto(f"{site.url}/models")
    charts = page.locator("svg.chart")
    expect(charts.first).to_be_hidden()
    page.get_by_text("Curves").click()
    expect(charts).to_have_count(3)
    for chart in charts.all():
        for text in chart.locator("text").all():
            box, frame = text.bounding_box(), chart.bounding_box()
            assert box is not None
            assert frame is not None
            assert frame["x"] - 1 <= box["x"]
            assert box["x"] + box["width"] <= frame["x"] + frame["width"] + 1


def test_two_questions_are_answered_on_the_first_screen(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/models")
    for question, answer in (
        ("Whom is it for?", "The figures hold for patients of 1 to 5 years."),
        ("What does the threshold mean here?", "4 of 5 scored images are flagged or uncertain (80.0 %)."),
    ):
        section = page.get_by_role("region", name=question)
        expect(section).to_contain_text(answer)
        expect(section).to_be_in_viewport(ratio=1)
    height = page.evaluate("document.documentElement.scrollHeight")
    assert height < 2_500, f"the rest is folded: {height} px"
