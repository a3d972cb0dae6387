"""Two readers and one image: claims that are released, renewed and taken over."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import PROBABILITIES
from tests.browser.serving import Site, press, serving, sign_in, wait_until_shown
from tests.conftest import wait_for
from tests.integration.webui.night import Night, scored_night
from worker.ledger import audit
from worker.ledger.tables import Image

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
# A page renews its claim three times in this time.
CLAIM_S = 15


def holder(site: Site, image_id: int) -> str | None:
    with site.ledger.reading() as session:
        claimed_by = session.get_one(Image, image_id).claimed_by
        return claimed_by.name if claimed_by else None


def claim_end(site: Site, image_id: int) -> str:
    with site.ledger.reading() as session:
        return str(session.get_one(Image, image_id).claimed_until)


def readings(site: Site, image_id: int) -> list[str]:
    with site.ledger.reading() as session:
        return [reading.user.name for reading in session.get_one(Image, image_id).reviews]


def open_and_claim(page: Page, site: Site, image_id: int) -> None:
    with page.expect_response("**/claim"):
        page.goto(f"{site.url}/review/{image_id}")


@pytest.fixture
def quick(tmp_path: Path, phantom_folder: Path) -> Iterator[Site]:
    """The pages of a ledger with short claims, but longer than a busy machine takes for a heartbeat."""
    made = scored_night(tmp_path / "data", PROBABILITIES, phantom_folder, width=640)
    night = Night(made.settings.model_copy(update={"claim_s": CLAIM_S}), made.ledger)
    with serving(night) as served:
        yield served
    made.ledger.close()


def test_leaving_the_image_releases_it_and_the_next_one_stays_claimed(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()
    sign_in(page, site, "Ada")
    open_and_claim(page, site, 1)
    assert holder(site, 1) == "Ada"
    with page.expect_response("**/claim"):
        press(page, "j")
        expect(page).to_have_url(f"{site.url}/review/2")
    wait_for(lambda: holder(site, 1) is None)
    assert holder(site, 2) == "Ada"
    wait_until_shown(page)
    with page.expect_response("**/claim"):
        press(page, "2")
        expect(page).to_have_url(f"{site.url}/review/3")
    with page.expect_response("**/claim"):
        page.reload()
    wait_for(lambda: holder(site, 3) == "Ada")
    page.goto(f"{site.url}/runs")
    wait_for(lambda: holder(site, 3) is None)
    open_and_claim(page, site, 4)
    page.close()
    wait_for(lambda: holder(site, 4) is None)


def test_heartbeat_keeps_the_claim_while_the_image_is_open(quick: Site, open_page: OpenPage) -> None:
    ada, bob = open_page(), open_page()
    sign_in(ada, quick, "Ada")
    sign_in(bob, quick, "Bob")
    open_and_claim(ada, quick, 1)
    first = claim_end(quick, 1)
    for _ in range(4):
        with ada.expect_response("**/claim"):
            pass
    assert claim_end(quick, 1) > first
    open_and_claim(bob, quick, 1)
    assert holder(quick, 1) == "Ada"
    # The tab dies without a word: Bob's page asks again and again, and gets the image when its time is over.
    ada.context.set_offline(True)
    ada.close()
    expect(bob.locator("#decide")).to_be_visible()
    # The page that waited releases its claim when it is loaded again, and the new one claims the image.
    wait_for(lambda: holder(quick, 1) == "Bob")
    wait_until_shown(bob)
    press(bob, "2")
    expect(bob).to_have_url(f"{quick.url}/review/2")
    assert readings(quick, 1) == ["Bob"]


def test_one_reader_takes_over_and_the_other_is_told_and_loses_no_word(
    quick: Site, open_page: OpenPage
) -> None:
    ada, bob = open_page(), open_page()
    sign_in(ada, quick, "Ada")
    sign_in(bob, quick, "Bob")
    open_and_claim(ada, quick, 1)
    wait_until_shown(ada)
    press(ada, "n")
    ada.keyboard.type("left base")
    press(ada, "Escape")

    bob.goto(f"{quick.url}/review/1")
    bob.get_by_role("button", name="Take over").click()
    expect(bob.locator(".message.claim")).to_contain_text("You have taken this image over from Ada.")
    expect(bob.locator("#decide")).to_be_visible()

    expect(ada.get_by_role("alert")).to_contain_text("Bob has claimed this image until")
    press(ada, "1")
    expect(ada.locator("#hint")).to_have_text(re.compile("^Bob has claimed this image until .*[.]$"))
    expect(ada.get_by_role("textbox", name="Note")).to_have_value("left base")
    assert readings(quick, 1) == []

    wait_until_shown(bob)
    press(bob, "2")
    expect(bob).to_have_url(f"{quick.url}/review/2")
    expect(ada.get_by_role("alert")).to_contain_text("This image has already been read.")
    press(ada, "1")
    expect(ada.locator("#hint")).to_have_text("This image has already been read.")
    expect(ada.get_by_role("textbox", name="Note")).to_have_value("left base")
    assert readings(quick, 1) == ["Bob"]
    with quick.ledger.reading() as session:
        assert audit.verify(session).ok


def test_decision_of_who_lost_the_claim_is_refused_with_a_sentence(site: Site, open_page: OpenPage) -> None:
    """Between two heartbeats, the page of the former holder does not know it yet."""
    ada, bob = open_page(expected=("409",)), open_page()
    sign_in(ada, site, "Ada")
    sign_in(bob, site, "Bob")
    open_and_claim(ada, site, 1)
    wait_until_shown(ada)
    press(ada, "n")
    ada.keyboard.type("left base")
    press(ada, "Escape")
    bob.goto(f"{site.url}/review/1")
    bob.get_by_role("button", name="Take over").click()
    expect(bob.locator("#decide")).to_be_visible()
    press(ada, "1")
    refused = ada.locator("#unsent")
    expect(refused).to_contain_text("Not recorded: signs of pneumonia, image 1.")
    expect(refused).to_contain_text("Another reader has claimed this image.")
    expect(refused).to_contain_text("left base")
    expect(ada.get_by_role("textbox", name="Note")).to_have_value("left base")
    refused.get_by_role("link", name="Show the image as it is now").click()
    expect(ada.get_by_role("button", name="Take over")).to_be_visible()
    ada.get_by_role("button", name="Take over").click()
    expect(ada.get_by_role("textbox", name="Note")).to_have_value("left base")
    # A page that goes releases its claim, and the next one claims the image.
    wait_for(lambda: holder(site, 1) == "Ada")


def test_claim_that_is_answered_late_belongs_to_the_page_that_shows_the_image_by_then(
    site: Site, open_page: OpenPage
) -> None:
    ada, bob = open_page(), open_page()
    sign_in(ada, site, "Ada")
    sign_in(bob, site, "Bob")
    open_and_claim(ada, site, 1)
    held: list[Route] = []
    bob.route("**/claim", lambda route: held.append(route), times=1)  # noqa: PLW0108 -- Playwright marks its handler
    with bob.expect_request("**/claim"):
        bob.goto(f"{site.url}/review/1")
    with bob.expect_response("**/claim"):
        bob.get_by_role("button", name="Take over").click()
    expect(bob.get_by_text("You have taken this image over from Ada.")).to_be_visible()
    with bob.expect_response("**/claim"):
        held[0].continue_()
    bob.evaluate("() => fetch('/healthz')")
    assert holder(site, 1) == "Bob"
    bob.goto(f"{site.url}/runs")
    wait_for(lambda: holder(site, 1) is None)


def test_reader_takes_over_without_javascript(site: Site, open_page: OpenPage) -> None:
    ada, bob = open_page(), open_page(java_script_enabled=False)
    sign_in(ada, site, "Ada")
    sign_in(bob, site, "Bob")
    open_and_claim(ada, site, 1)
    bob.goto(f"{site.url}/review/1")
    bob.get_by_role("button", name="Take over").click()
    bob.get_by_role("button", name="No signs").click()
    expect(bob).to_have_url(f"{site.url}/review/2")
    assert readings(site, 1) == ["Bob"]
