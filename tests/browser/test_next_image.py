"""The next image opens in place, with a picture that was fetched ahead and is on record as such."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Request, expect
from sqlalchemy import delete, select

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.browser.test_accessibility import problems
from tests.conftest import wait_for
from worker.ledger.session import ledger_time
from worker.ledger.tables import AccessRecord, BrowserSession, Image

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


@pytest.fixture
def viewer(site: Site, open_page: OpenPage) -> Page:
    """The first image of the queue, in the viewer of a signed-in reader."""
    page = open_page(bypass_csp=True)
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    return page


def accesses(site: Site) -> list[tuple[str, str, int | None]]:
    """Return kind, code and image of every access to an image."""
    with site.ledger.reading() as session:
        rows = session.scalars(select(AccessRecord).order_by(AccessRecord.id)).all()
    return [(row.kind, row.code, row.image_id) for row in rows if row.image_id]


def expect_fetched_ahead(page: Page, image_id: int) -> None:
    expect(page.locator(f"html[data-ahead^='/images/{image_id}/picture']")).to_be_attached()


def claimed(site: Site) -> list[int]:
    """Return the images that somebody has claimed."""
    with site.ledger.reading() as session:
        at = ledger_time(session)
        return list(session.scalars(select(Image.id).where(Image.claimed_until > at).order_by(Image.id)))


def pictures(page: Page) -> list[str]:
    """Return a list to which the address of every picture is added that the page asks for from now on."""
    asked: list[str] = []

    def keep(request: Request) -> None:
        if "/picture" in request.url:
            asked.append(request.url)

    page.on("request", keep)
    return asked


def test_next_picture_is_fetched_once_and_is_a_view_when_its_page_opens(site: Site, viewer: Page) -> None:
    expect_fetched_ahead(viewer, 2)
    assert accesses(site) == [("view", "page", 1), ("prefetch", "picture", 2)]
    asked = pictures(viewer)
    press(viewer, "1")
    expect(viewer).to_have_url(f"{site.url}/review/2")
    wait_until_shown(viewer)
    expect_fetched_ahead(viewer, 3)
    assert not [url for url in asked if "/images/2/" in url]
    assert accesses(site)[2:] == [("view", "page", 2), ("prefetch", "picture", 3)]


def test_decision_loads_no_new_document(site: Site, viewer: Page) -> None:
    viewer.evaluate("() => { window.sameDocument = true; }")
    expect_fetched_ahead(viewer, 2)
    press(viewer, "1")
    expect(viewer).to_have_url(f"{site.url}/review/2")
    expect(viewer).to_have_title(re.compile(r"^Image 2 "))
    expect(viewer.locator(".message.reading")).to_contain_text("Recorded: signs of pneumonia")
    expect(viewer.locator("main")).to_be_focused()
    assert viewer.evaluate("() => window.sameDocument")
    assert problems(viewer) == []
    wait_until_shown(viewer)
    press(viewer, "i")
    expect(viewer.locator("#picture")).to_have_css("filter", "invert(1)")


def test_next_image_opens_before_its_picture_has_come(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=("net::ERR_FAILED",))
    sign_in(page, site)
    page.route("**/picture*ahead=1", lambda route: route.abort())
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    press(page, "j")
    expect(page).to_have_url(f"{site.url}/review/2")
    wait_until_shown(page)
    expect(page.locator("#picture")).to_have_js_property("complete", value=True)


def test_back_leads_to_the_image_before(site: Site, viewer: Page) -> None:
    press(viewer, "1")
    expect(viewer).to_have_url(f"{site.url}/review/2")
    viewer.go_back()
    expect(viewer).to_have_url(f"{site.url}/review/1")
    expect(viewer.locator("#standing")).to_contain_text("signs of pneumonia")


def test_each_key_acts_once_after_several_images(site: Site, viewer: Page) -> None:
    for image_id in (2, 3, 4):
        press(viewer, "j")
        expect(viewer).to_have_url(f"{site.url}/review/{image_id}")
        wait_until_shown(viewer)
    press(viewer, "i")
    expect(viewer.locator("#invert")).to_be_checked()


def test_claim_moves_with_the_reader(site: Site, viewer: Page) -> None:
    wait_for(lambda: claimed(site) == [1])
    press(viewer, "j")
    expect(viewer).to_have_url(f"{site.url}/review/2")
    wait_for(lambda: claimed(site) == [2])
    viewer.locator("#back").click()
    wait_for(lambda: claimed(site) == [])


def test_page_that_is_left_releases_its_image_although_the_next_one_is_not_claimed(
    site: Site, viewer: Page
) -> None:
    """Nobody reads an image twice, so the next page claims nothing, and ends no other claim by doing so."""
    viewer.goto(f"{site.url}/review/1?reading=any")
    wait_until_shown(viewer)
    press(viewer, "1")
    expect(viewer).to_have_url(f"{site.url}/review/2?reading=any")
    wait_until_shown(viewer)
    wait_for(lambda: claimed(site) == [2])
    press(viewer, "k")
    expect(viewer).to_have_url(f"{site.url}/review/1?reading=any")
    wait_for(lambda: claimed(site) == [])


def test_reader_whose_session_has_ended_signs_in(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=("Failed to load resource", "Response Status Error Code 401"))
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    with site.ledger.transaction() as session:
        session.execute(delete(BrowserSession))
    press(page, "1")
    expect(page.locator("main")).to_contain_text("Sign in")
