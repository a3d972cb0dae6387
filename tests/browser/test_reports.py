"""The HTML reports of explore and evaluate, opened from disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

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
