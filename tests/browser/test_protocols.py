"""Reading protocols in the browser: a blind first look with a wrong score, two readers and an adjudicator, a drawn image."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.browser.test_accessibility import problems
from tests.filling import follow
from worker.ledger.protocols import Protocol
from worker.ledger.roles import Role

pytestmark = pytest.mark.browser

READER = (Role.READER,)


def open_image(page: Page, site: Site, image: int) -> None:
    page.goto(f"{site.url}/review/{image}")
    wait_until_shown(page)


def test_blind_reader_decides_against_a_wrong_score_and_sees_it_then(
    site: Site, open_page: Callable[..., Page]
) -> None:
    admin = open_page()
    sign_in(admin, site, "Eve", (Role.ADMINISTRATOR, Role.VIEWER))
    admin.goto(f"{site.url}/protocol")
    admin.get_by_label("shown after the reader's first decision").first.check()
    admin.get_by_label("Clear images to draw").fill("0")
    admin.get_by_label("Reason for the change").fill("our study begins")
    admin.get_by_role("button", name="Change the protocol").click()
    expect(admin.locator("#in-force")).to_contain_text("Score after the first decision")
    page = open_page()
    sign_in(page, site, "Ada", READER)
    open_image(page, site, 1)
    expect(page.locator("#hidden-score")).to_be_visible()
    expect(page.locator(".scale, #show-map, .chip.flagged")).to_have_count(0)
    assert problems(page) == []
    # The model flags this image.
    press(page, "Digit2")
    expect(page.locator(".message.reading")).to_contain_text("Now you see the score")
    expect(page.locator(".scale")).to_be_visible()
    expect(page.locator(".chip.flagged")).to_be_visible()
    expect(page.locator("#standing")).to_contain_text("no signs")
    wait_until_shown(page)
    press(page, "KeyJ")
    expect(page.locator("#hidden-score")).to_be_visible()
    document = page.request.get(f"{site.url}/api/v1/images/1").json()
    assert (document["finding"], document["reading"]["score_shown"], document["reading"]["map_shown"]) == (
        "no_signs", False, False
    )  # fmt: skip


def test_two_readers_disagree_and_an_adjudicator_decides(site: Site, open_page: Callable[..., Page]) -> None:
    follow(site.night.ledger, Protocol(readers=2, sample_share=0))
    for name, key in (("Ada", "Digit1"), ("Ben", "Digit2")):
        page = open_page()
        sign_in(page, site, name, READER)
        open_image(page, site, 1)
        expect(page.locator("#standing")).to_have_count(0)
        if name == "Ben":
            expect(page.locator("#second-reading")).to_be_visible()
            assert problems(page) == []
        press(page, key)
        expect(page.locator(".message.reading")).to_be_visible()
    page = open_page()
    sign_in(page, site, "Chen", (Role.ADJUDICATOR,))
    page.goto(f"{site.url}/")
    page.get_by_role("link", name="1 for an adjudicator").click()
    page.locator(".queue .row").first.click()
    wait_until_shown(page)
    expect(page.locator("#adjudication")).to_be_visible()
    expect(page.locator(".history")).to_contain_text("Ada")
    expect(page.locator(".history")).to_contain_text("Ben")
    assert problems(page) == []
    press(page, "Digit1")
    expect(page.locator(".message.reading")).to_be_visible()
    assert page.request.get(f"{site.url}/api/v1/images/1").json()["review_state"] == "read"
