"""The HTML reports: of a run, and of explore and evaluate; opened from disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from tests.browser.serving import Site, sign_in
from tests.unit.training.html.test_html import every_kind, plot
from training.html.blocks import Section, Table
from training.html.page import page

pytestmark = pytest.mark.browser


def test_report_fits_a_phone_and_sends_no_requests(browser: Browser, tmp_path: Path) -> None:
    wide = Table([f"column {n}" for n in range(12)], [[f"cell number {n}" for n in range(12)]])
    path = tmp_path / "report.html"
    path.write_text(
        page("t" * 80, "s", [*every_kind("word " * 40), Section("Wide", [wide, plot()])]), encoding="utf-8"
    )
    requests: list[str] = []
    messages: list[str] = []
    tab = browser.new_page(viewport={"width": 360, "height": 800})
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.goto(path.as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == 360
    broken_images = "[...document.images].filter(image => !image.naturalWidth).length"
    assert tab.evaluate(broken_images) == 0
    details = tab.locator("details p").first
    assert not details.is_visible()
    tab.emulate_media(media="print")
    assert not tab.locator("nav").is_visible()
    assert details.is_visible()
    tab.close()
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert messages == []


@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_report_of_a_run_is_readable_in_the_dark_and_on_paper(
    site: Site, open_page: Callable[..., Page], tmp_path: Path, scheme: str
) -> None:
    page = open_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
    sign_in(page, site)
    path = tmp_path / "report.html"
    path.write_bytes(page.request.get(f"{site.url}/api/v1/runs/1/report?format=html").body())
    page.goto(path.as_uri())
    # What a page without a background of its own lies on depends on the colour scheme that it declares.
    text = page.evaluate("getComputedStyle(document.body).color")
    assert text == {"dark": "rgb(255, 255, 255)", "light": "rgb(0, 0, 0)"}[scheme]
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.emulate_media(media="print")
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert page.evaluate("getComputedStyle(document.querySelector('.table')).overflowX") == "visible"
