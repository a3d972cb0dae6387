"""The reading queue in a browser: filters, what is new, search, local times."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in
from tests.integration.webui.night import phantoms
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def test_filter_applies_without_a_button_and_keeps_the_focus(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    expect(page.get_by_role("button", name="Show", exact=True)).to_be_hidden()
    page.get_by_label("Order").focus()
    page.get_by_label("Order").select_option("closest")
    expect(page).to_have_url(f"{site.url}/review?order=closest")
    expect(page.get_by_label("Order")).to_be_focused()
    expect(page.locator("#order")).to_contain_text("Closest to the threshold 0.50")
    page.get_by_text("More filters").click()
    page.get_by_label("Score from").fill("0.7")
    page.get_by_label("Score from").press("Enter")
    expect(page).to_have_url(re.compile("order=closest.*low=0.7|low=0.7.*order=closest"))
    expect(page.locator(".row")).to_have_count(3)
    page.go_back()
    expect(page.get_by_label("Score from")).to_have_value("")
    expect(page.locator(".row")).to_have_count(4)
    page.get_by_role("link", name="Clear filters").click()
    expect(page).to_have_url(f"{site.url}/review")


def test_new_images_are_offered_without_moving_the_list(
    site: Site, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page()
    sign_in(page, site)
    press(page, "j")
    before = page.locator(".row").first.bounding_box()
    site.night.accept(phantoms(tmp_path / "new", [80], 96))
    site.night.score({6: 0.99})
    offer = page.get_by_role("link", name="1 new, show")
    expect(offer).to_be_visible()
    expect(page.locator(".row").first).to_be_focused()
    assert page.locator(".row").first.bounding_box() == before
    expect(page.locator(".row")).to_have_count(4)
    offer.click()
    expect(page.locator(".row")).to_have_count(5)
    expect(page.locator(".row").first).to_have_attribute("href", "/review/6")


def test_empty_page_fills_itself(site: Site, open_page: OpenPage, tmp_path: Path) -> None:
    with site.night.ledger.transaction() as session:
        for number in range(1, 6):
            session.get_one(Image, number).review_state = ReviewState.READ
    page = open_page()
    sign_in(page, site)
    expect(page.get_by_role("heading", name="No images to read.")).to_be_visible()
    page.get_by_label("Verdict").focus()
    site.night.accept(phantoms(tmp_path / "new", [80], 96))
    site.night.score({6: 0.99})
    expect(page.locator(".row")).to_have_count(1)
    expect(page.get_by_role("heading", name="Queue 1")).to_be_visible()
    expect(page.get_by_label("Verdict")).to_be_focused()
    press(page, "Escape")
    press(page, "j")
    expect(page.locator(".row")).to_be_focused()


def test_search_leaves_no_trace_in_the_address(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.get_by_role("searchbox").fill("PHANTOM-003")
    page.get_by_role("searchbox").press("Enter")
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row")).to_have_attribute("href", "/review/4")
    expect(page).to_have_url(f"{site.url}/review")


def test_times_are_local_with_utc_on_demand(site: Site, open_page: OpenPage) -> None:
    page = open_page(timezone_id="Asia/Tokyo")
    sign_in(page, site)
    time = page.locator(".row time").first
    expect(time).not_to_contain_text("UTC")
    utc = str(time.get_attribute("title"))
    assert utc.endswith(" UTC")
    hour = int(utc.split()[1][:2])
    expect(time).to_contain_text(f" {(hour + 9) % 24:02d}:")
    page.get_by_role("button", name="Times: Asia/Tokyo. Switch to UTC").click()
    expect(time).to_have_text(utc)


def test_browser_whose_time_is_utc_offers_no_switch(site: Site, open_page: OpenPage) -> None:
    page = open_page(timezone_id="UTC")
    sign_in(page, site)
    expect(page.locator("footer.bottom")).to_contain_text("Times: UTC")
    expect(page.get_by_role("button", name="Times")).to_have_count(0)


def test_filters_and_times_work_without_scripts(site: Site, open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, site)
    expect(page.locator(".row time").first).to_contain_text("UTC")
    page.get_by_label("Verdict").select_option("clear")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_role("searchbox").fill("phantom-003")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".row")).to_have_attribute("href", "/review/4")
