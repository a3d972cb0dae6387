"""Passkeys in a real Chromium with a virtual authenticator (WebAuthn of CDP), and an authenticator app without JavaScript."""

from __future__ import annotations

import time
from collections.abc import Callable

import pyotp
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import CDPSession, Page, expect
from sqlalchemy import select

from tests.browser.serving import Site
from tests.conftest import wait_for
from tests.integration.webui.test_passphrases import OWN, assert_whole, give_passphrase
from worker.ledger.tables import Passkey, Totp
from worker.passphrases.hashing import hashed

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
REFUSED = ("400 (BAD REQUEST)",)


@pytest.fixture(scope="module")
def own_hash() -> str:
    return hashed(OWN)


@pytest.fixture
def address(site: Site, own_hash: str) -> str:
    """The page under a host name: passkeys do not work under a bare address. Ada is a reader with a passphrase."""
    give_passphrase(site.night, "Ada", own_hash)
    return site.url.replace("127.0.0.1", "localhost")


def authenticator_of(page: Page) -> tuple[CDPSession, str]:
    """Give the browser a device that makes passkeys and verifies its person."""
    devtools = page.context.new_cdp_session(page)
    devtools.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    made = devtools.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    return devtools, made["authenticatorId"]


def enter(page: Page, address: str) -> None:
    page.goto(f"{address}/sign-in")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Passphrase").fill(OWN)
    page.get_by_role("button", name="Sign in", exact=True).click()


def add_passkey(page: Page, address: str, name: str = "Phone") -> None:
    page.goto(f"{address}/account")
    form = page.locator("#add-passkey")
    form.get_by_label("Name of the new passkey").fill(name)
    form.get_by_label("Present passphrase").fill(OWN)
    form.get_by_role("button").click()
    expect(page.get_by_role("button", name=f"Remove {name}")).to_be_visible()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def sign_in_with_passkey(page: Page) -> None:
    page.get_by_role("button", name="Sign in with a passkey").click()


def assert_accessible(page: Page) -> None:
    result = Axe().run(page)
    assert result.violations_count == 0, result.generate_report()


def test_person_signs_in_with_a_passkey(site: Site, open_page: OpenPage, address: str) -> None:
    page = open_page(REFUSED)
    authenticator_of(page)
    enter(page, address)
    add_passkey(page, address)
    assert_accessible(page)
    sign_out(page)
    assert_accessible(page)
    with page.expect_request("**/sign-in/passkey") as sent:
        sign_in_with_passkey(page)
    expect(page.get_by_role("link", name="Account")).to_contain_text("Ada")
    with site.ledger.reading() as session:
        passkey = session.scalars(select(Passkey)).one()
    assert passkey.sign_count > 0
    assert passkey.used_at is not None
    again = page.request.post(
        f"{address}/sign-in/passkey",
        data=sent.value.post_data_json,
        headers={"Sec-Fetch-Site": "same-origin"},
    )
    assert again.status == 400, "an answer is accepted once"
    assert_whole(site.night)


def test_passkey_is_the_second_step_of_a_passphrase(address: str, open_page: OpenPage) -> None:
    page = open_page()
    authenticator_of(page)
    enter(page, address)
    add_passkey(page, address)
    sign_out(page)
    enter(page, address)
    expect(page.get_by_role("heading", name="Second step")).to_be_visible()
    assert_accessible(page)
    sign_in_with_passkey(page)
    expect(page.get_by_role("link", name="Account")).to_contain_text("Ada")


def test_removed_passkey_signs_nobody_in(address: str, open_page: OpenPage) -> None:
    page = open_page(REFUSED)
    authenticator_of(page)
    enter(page, address)
    add_passkey(page, address, "Phone")
    form = page.locator("form", has=page.get_by_role("button", name="Remove Phone"))
    form.get_by_label("Present passphrase").fill(OWN)
    form.get_by_role("button").click()
    expect(page.get_by_role("status").filter(has_text="The passkey was removed.")).to_be_visible()
    sign_out(page)
    sign_in_with_passkey(page)
    expect(page.get_by_role("alert")).to_contain_text("This passkey was not accepted.")


def test_device_that_does_not_verify_its_person_signs_nobody_in(address: str, open_page: OpenPage) -> None:
    page = open_page()
    devtools, authenticator = authenticator_of(page)
    enter(page, address)
    add_passkey(page, address)
    sign_out(page)
    devtools.send("WebAuthn.setUserVerified", {"authenticatorId": authenticator, "isUserVerified": False})
    sign_in_with_passkey(page)
    expect(page.get_by_role("alert")).to_contain_text("The device gave no passkey.")


def test_bare_address_offers_no_passkey(site: Site, open_page: OpenPage, address: str) -> None:
    page = open_page()
    enter(page, site.url)
    page.goto(f"{site.url}/account")
    expect(page.get_by_role("heading", name="Authenticator app")).to_be_visible()
    expect(page.get_by_role("heading", name="Passkeys")).to_have_count(0)
    page.goto(f"{address}/sign-in")
    expect(page.get_by_role("button", name="Sign in with a passkey")).to_be_visible()


def test_app_is_set_up_and_used_without_javascript(site: Site, open_page: OpenPage, address: str) -> None:
    page = open_page(java_script_enabled=False)
    enter(page, address)
    page.goto(f"{address}/account")
    app = page.get_by_role("region", name="Authenticator app")
    app.get_by_label("Present passphrase").fill(OWN)
    app.get_by_role("button").click()
    secret = page.get_by_label("Secret").input_value().replace(" ", "")
    page.get_by_label("Code that the app shows now").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    page.get_by_role("link", name="I have kept them").click()
    sign_out(page)
    enter(page, address)
    with site.ledger.reading() as session:
        used = session.scalars(select(Totp.last_step)).one()
    # The next code must be another one. A code of half a minute ahead is accepted, too.
    wait_for(lambda: int(time.time()) // 30 >= used, "the step of the first code")
    page.get_by_label("Code of your authenticator app, or a recovery code").fill(
        pyotp.TOTP(secret).at((used + 1) * 30)
    )
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("link", name="Account")).to_contain_text("Ada")


@pytest.mark.parametrize("width", [1280, 640])
def test_pages_of_the_app_have_no_axe_findings(address: str, open_page: OpenPage, width: int) -> None:
    page = open_page(REFUSED, viewport={"width": width, "height": 800})
    enter(page, address)
    page.goto(f"{address}/account")
    app = page.get_by_role("region", name="Authenticator app")
    app.get_by_label("Present passphrase").fill(OWN)
    app.get_by_role("button").click()
    assert_accessible(page)
    secret = page.get_by_label("Secret").input_value().replace(" ", "")
    page.get_by_label("Code that the app shows now").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert_accessible(page)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), "nothing is cut off"
    page.goto(f"{address}/account")
    assert_accessible(page)
    page.context.clear_cookies()
    enter(page, address)
    expect(page.get_by_label("Code of your authenticator app, or a recovery code")).to_be_visible()
    assert_accessible(page)
    page.get_by_label("Code of your authenticator app, or a recovery code").fill("no code")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("This code is wrong")
    assert_accessible(page)
