"""Reading protocols in the browser: a blind first look with a wrong score, two readers and an adjudicator, a drawn image."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.browser.test_accessibility import problems
from tests.filling import follow, make_patients, read_twice
from tests.integration.webui.night import copies
from worker.ledger.findings import Finding, Seen
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


def test_page_of_agreement_shows_a_disagreement_and_its_adjudication(
    site: Site, open_page: Callable[..., Page], phantom_folder: Path
) -> None:
    night = site.night
    ids = [item.image_id for item in night.accept(copies(phantom_folder, 12), run="study")]
    night.score(dict.fromkeys(ids, 0.9))
    make_patients(night.ledger)
    follow(night.ledger, Protocol(readers=2))
    for number, image in enumerate(ids[1:]):
        finding = Finding.SIGNS if number < 8 else Finding.NO_SIGNS
        read_twice(night.ledger, image, finding, finding, Seen(score_shown=False))
    for name, key in (("Ada", "Digit1"), ("Ben", "Digit2")):
        page = open_page()
        sign_in(page, site, name, READER)
        open_image(page, site, ids[0])
        press(page, key)
        expect(page.locator(".message.reading")).to_be_visible()
    page = open_page()
    sign_in(page, site, "Chen", (Role.ADJUDICATOR,))
    page.goto(f"{site.url}/protocol")
    page.get_by_role("link", name="Agreement and missed cases").click()
    expect(page.locator("#pairs")).to_contain_text("12 images")
    expect(page.locator("#raw")).to_contain_text("91.7 %")
    expect(page.locator("#seen-first")).to_contain_text("for 1 image of 12")
    assert problems(page) == []
    waiting = page.locator("#waiting")
    expect(waiting).to_contain_text("1")
    expect(page.locator("#not-counted")).to_contain_text("study (1 image waits)")
    waiting.get_by_role("link").click()
    page.locator(".queue .row").first.click()
    wait_until_shown(page)
    press(page, "Digit2")
    expect(page.locator(".message.reading")).to_be_visible()
    page.goto(f"{site.url}/agreement")
    expect(page.locator("#as-second dd")).to_have_text("1")
    expect(page.locator("#waiting dd")).to_have_text("0")
    expect(page.locator("#extent")).to_contain_text("12 images")
    expect(page.locator("#shown")).to_contain_text("12")
    assert problems(page) == []
