"""Signing in through the hospital's sign-in service, all the way, in a real Chromium.

The provider is at `localhost` and our pages are at 127.0.0.1, so each is a foreign site to the other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from oidc_provider_mock import User
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, serving
from tests.identity_provider import IdentityProvider, identity_provider
from tests.integration.webui.night import Night, scored_night
from webui.access.identity import COOKIE
from worker.config import Settings

pytestmark = pytest.mark.browser

ADA = User(sub="248289761001", claims={"name": "Ada Night", "groups": ["readers"]})
VISITOR = User(sub="7", claims={"name": "Vera Visitor", "groups": ["visitors"]})


@pytest.fixture(scope="module")
def provider() -> Iterator[IdentityProvider]:
    """A provider that knows a reader and a visitor."""
    with identity_provider(ADA, VISITOR) as running:
        yield running


@pytest.fixture
def hospital(tmp_path: Path, phantom_folder: Path, provider: IdentityProvider) -> Iterator[Site]:
    """Pages that the people of the provider may open."""
    night = scored_night(tmp_path / "data", (0.97, 0.2), phantom_folder, width=640)
    settings = Settings.model_validate(
        {**night.settings.model_dump(exclude_unset=True), **provider.settings()}
    )
    with serving(Night(settings, night.ledger)) as served:
        yield served
    night.ledger.close()


def sign_in_at_provider(page: Page, site: Site, person: User) -> None:
    page.goto(f"{site.url}/review?filter=unread")
    expect(page).to_have_url(re.compile(r"/sign-in\?next="))
    page.get_by_role("link", name="Sign in with your hospital account").click()
    page.get_by_role("button", name=person.sub, exact=True).click()


@pytest.mark.parametrize("with_scripts", [True, False], ids=["scripts", "no scripts"])
def test_person_of_the_hospital_reaches_the_page_they_asked_for(
    open_page: Callable[..., Page], hospital: Site, *, with_scripts: bool
) -> None:
    page = open_page(java_script_enabled=with_scripts)
    sign_in_at_provider(page, hospital, ADA)
    expect(page).to_have_url(f"{hospital.url}/review?filter=unread")
    expect(page.get_by_role("link", name="Account Ada Night")).to_be_visible()
    cookies = {cookie["name"]: cookie for cookie in page.context.cookies(hospital.url)}
    assert cookies[COOKIE]["sameSite"] == "Strict"
    assert "nightread_sign_in" not in cookies


def test_person_without_a_role_reads_why(open_page: Callable[..., Page], hospital: Site) -> None:
    page = open_page(expected=("403",))
    sign_in_at_provider(page, hospital, VISITOR)
    expect(page.get_by_role("heading", name="You are not signed in")).to_be_visible()
    expect(page.get_by_text("none of your groups gives a role")).to_be_visible()
    assert Axe().run(page).violations_count == 0
    page.get_by_role("link", name="Sign in").click()
    expect(page.get_by_role("link", name="Sign in with your hospital account")).to_be_visible()
    assert Axe().run(page).violations_count == 0
