"""Signing in with a passphrase, and changing it, in a real Chromium: without JavaScript, and without axe findings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from sqlalchemy import select

from tests.browser.serving import Site, sign_in
from tests.integration.webui.test_passphrases import OTHER, OWN, give_passphrase
from worker.ledger import actors, sign_ins
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.tables import User
from worker.passphrases.hashing import hashed

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
REFUSED = ("400 (BAD REQUEST)",)


@pytest.fixture(scope="module")
def own_hash() -> str:
    return hashed(OWN)


@pytest.fixture(autouse=True)
def _ada(site: Site, own_hash: str) -> None:
    """Ada is a reader with a passphrase."""
    give_passphrase(site.night, "Ada", own_hash)


def enter(page: Page, name: str, passphrase: str) -> None:
    page.get_by_label("Your name").fill(name)
    page.get_by_label("Passphrase").fill(passphrase)
    page.get_by_role("button", name="Sign in", exact=True).click()


def assert_accessible(page: Page) -> None:
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()


def test_person_signs_in_and_changes_the_passphrase_without_javascript(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page(REFUSED, java_script_enabled=False)
    page.goto(f"{site.url}/runs")
    enter(page, "Ada", "a wrong one")
    expect(page.get_by_role("alert")).to_have_text("This name and this passphrase do not belong together.")
    expect(page.get_by_label("Your name")).to_have_value("Ada")
    enter(page, "Ada", OWN)
    expect(page).to_have_url(f"{site.url}/runs")
    page.get_by_role("link", name="Account").click()
    page.locator("#present").fill(OWN)
    page.get_by_label("New passphrase", exact=True).fill(OTHER)
    page.get_by_label("New passphrase, again").fill(OTHER)
    page.get_by_role("button", name="Change passphrase").click()
    expect(page.get_by_role("status").first).to_contain_text("Your passphrase was set.")
    page.get_by_role("button", name="Sign out").click()
    enter(page, "Ada", OTHER)
    expect(page.get_by_role("link", name="Account")).to_contain_text("Ada")


@pytest.mark.parametrize("width", [1280, 640])
def test_pages_have_no_axe_findings(site: Site, open_page: OpenPage, width: int) -> None:
    page = open_page(REFUSED, viewport={"width": width, "height": 800})
    page.goto(f"{site.url}/sign-in")
    assert_accessible(page)
    enter(page, "Ada", "a wrong one")
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible(page)
    enter(page, "Ada", OWN)
    page.goto(f"{site.url}/account")
    assert_accessible(page)
    page.locator("#present").fill(OWN)
    page.get_by_label("New passphrase", exact=True).fill("too short")
    page.get_by_label("New passphrase, again").fill("too short")
    page.get_by_role("button", name="Change passphrase").click()
    expect(page.get_by_role("alert")).to_be_visible()
    assert_accessible(page)
    sign_in(page, site, "Adam", {Role.ADMINISTRATOR, Role.READER})
    page.goto(f"{site.url}/people")
    expect(page.get_by_role("button", name="Reset sign-in")).to_be_visible()
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"


@pytest.mark.parametrize("width", [1280, 390])
def test_page_of_a_link_has_no_axe_findings(site: Site, open_page: OpenPage, width: int) -> None:
    with site.ledger.transaction() as session:
        ada = session.scalars(select(User).where(User.name == "Ada")).one()
        key = sign_ins.make_link(session, ada, actor=actors.PROGRAM, at=ledger_time(session))
    page = open_page(("410 (GONE)",), viewport={"width": width, "height": 800})
    page.goto(f"{site.url}/sign-in")
    # A page that leads to a link is asked first.
    page.evaluate("address => { location.href = address; }", f"{site.url}/sign-in/{key}")
    expect(page.get_by_text("This link signs you in as Ada, once.")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Home")).to_be_visible()
    page.goto(f"{site.url}/sign-in/{key}")
    expect(page.get_by_text("This link was used before")).to_be_visible()
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"
