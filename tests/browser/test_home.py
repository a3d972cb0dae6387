"""Home in a browser: it keeps itself up to date, and keeps the focus."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, sign_in
from tests.integration.webui.night import phantoms

pytestmark = pytest.mark.browser


def test_home_follows_the_night_and_keeps_the_focus(
    site: Site, open_page: Callable[..., Page], phantom_folder: Path
) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(site.url)
    to_read = page.get_by_role("region", name="To read")
    expect(to_read).to_contain_text("4")
    page.get_by_role("link", name="Start reading").focus()

    site.night.accept(phantoms(phantom_folder, [700]))
    site.night.score({6: 0.9})
    # The figures are a few seconds old at most; the page asks every ten seconds.
    expect(to_read.locator(".big")).to_have_text("5")
    expect(page.get_by_role("link", name="Start reading")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page).to_have_url(f"{site.url}/review")
