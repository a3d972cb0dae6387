"""The reports of explore and evaluate, opened from disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.unit.training.html.test_html import every_kind, plot
from training.html.blocks import Section, Table
from training.html.page import page

pytestmark = pytest.mark.browser


def test_a_report_opens_from_disk_at_any_width_without_a_request(browser: Browser, tmp_path: Path) -> None:
    wide = Table([f"column {n}" for n in range(12)], [[f"cell number {n}" for n in range(12)]])
    path = tmp_path / "report.html"
    path.write_text(
        page("t" * 80, "s", [*every_kind("word " * 40), Section("Wide", [wide, plot()])]), encoding="utf-8"
    )
    requests: list[str] = []
    troubles: list[str] = []
    opened = browser.new_page(viewport={"width": 360, "height": 800})
    opened.on("request", lambda request: requests.append(request.url))
    opened.on("console", lambda message: troubles.append(message.text))
    opened.goto(path.as_uri())
    assert opened.evaluate("document.documentElement.scrollWidth") == 360
    broken = "[...document.images].filter(image => !image.naturalWidth).length"
    assert opened.evaluate(broken) == 0
    folded = opened.locator("details p").first
    assert not folded.is_visible()
    opened.emulate_media(media="print")
    assert not opened.locator("nav").is_visible()
    assert folded.is_visible()
    opened.close()
    assert [url for url in requests if not url.startswith("data:")] == [path.as_uri()]
    assert troubles == []
