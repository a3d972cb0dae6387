"""The first minute and a morning: the printed link, a second person, and the end of their access."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from oidc_provider_mock import User
from playwright.sync_api import Page, expect

from tests.browser.serving import press, wait_until_shown
from tests.conftest import HANG_S, Stack
from tests.filling import assert_consistent
from tests.identity_provider import IdentityProvider, identity_provider
from worker.ledger import audit

pytestmark = [pytest.mark.browser, pytest.mark.stack]

REFUSED = ("Failed to load resource", "Response Status Error Code 401")


def printed_link(stack: Stack) -> str:
    """Return the link that `nightread up` printed last."""
    links: list[str] = re.findall(r"http://localhost:\d+/sign-in/\S+", stack.log.read_text())
    return links[-1]


@pytest.mark.parametrize("scripts", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_printed_link_leads_to_the_first_phantom(
    nightread_up: Stack, open_page: Callable[..., Page], phantoms: list[Path], scripts: bool
) -> None:
    page = open_page(java_script_enabled=scripts)
    page.goto(printed_link(nightread_up))
    expect(page.get_by_role("region", name="To read")).to_contain_text("0")
    nightread_up.drop("phantom.jpg", phantoms[0].read_bytes())
    nightread_up.wait_until_done(1)
    page.goto(f"{nightread_up.url.replace('127.0.0.1', 'localhost')}/review?verdict=any")
    expect(page.locator(".row")).to_contain_text("phantom.jpg")


@pytest.fixture
def provider() -> Iterator[IdentityProvider]:
    """The hospital's sign-in service, which knows two readers."""
    people = [
        User(sub=f"{number}", claims={"name": name, "groups": ["readers"]})
        for number, name in enumerate(("Ben Dawson", "Cara Diaz"), 1001)
    ]
    with identity_provider(*people) as running:
        yield running


def test_a_morning_of_two_readers_and_a_program(
    make_stack: Callable[..., Stack],
    open_page: Callable[..., Page],
    provider: IdentityProvider,
    phantoms: list[Path],
) -> None:
    stack = make_stack(**provider.settings())
    stack.start()
    site = stack.url.replace("127.0.0.1", "localhost")
    first, second, third = open_page(), open_page(expected=REFUSED), open_page()

    first.goto(printed_link(stack))
    first.goto(f"{site}/account/tokens")
    key = make_token(first, "night script", "images:write", "images:read")
    program = {"Authorization": f"Bearer {key}"}
    for path in phantoms[:4]:
        assert upload(site, path, program).status_code == 200
    stack.wait_until_done(4)
    assert requests.get(f"{site}/api/v1/images/1", headers=program, timeout=HANG_S).json()["verdict"]
    assert requests.get(f"{site}/api/v1/audit", headers=program, timeout=HANG_S).status_code in {403, 404}

    sign_in_at_provider(second, site, "1001")
    read_one(second, site, row=0)
    # The first reader's next image is theirs for a while.
    sign_in_at_provider(third, site, "1002")
    read_one(third, site, row=-1)
    expect(second.get_by_role("link", name="People")).to_have_count(0)

    first.goto(f"{site}/people")
    ben = first.locator(".people > li").filter(has_text="Ben Dawson")
    expect(ben).to_contain_text("1 session")
    ben.get_by_role("button", name="Disable").click()
    expect(ben).to_contain_text("disabled")
    expect(second, "the open page notices by itself").to_have_url(re.compile(r"/sign-in\?next=/review"))
    second.goto(f"{site}/review")
    expect(second).to_have_url(re.compile(r"/sign-in\?next="))
    sign_in_at_provider(second, site, "1001", refused=True)
    read_one(third, site, row=-1)

    first.goto(f"{site}/account/tokens")
    first.get_by_role("button", name="Revoke night script").click()
    assert upload(site, phantoms[4], program).status_code == 401
    assert_consistent(stack.ledger)
    with stack.ledger.reading() as session:
        assert audit.verify(session).ok


def make_token(page: Page, name: str, *scopes: str) -> str:
    page.get_by_label("Name, for example of the program").fill(name)
    for scope in scopes:
        page.locator(f'input[value="{scope}"]').check()
    page.get_by_role("button", name="Make token").click()
    return page.get_by_label("Key").input_value()


def upload(site: str, path: Path, headers: dict[str, str]) -> requests.Response:
    files = {"files": (path.name, path.read_bytes())}
    return requests.post(f"{site}/api/v1/images", files=files, headers=headers, timeout=HANG_S)


def sign_in_at_provider(page: Page, site: str, subject: str, *, refused: bool = False) -> None:
    page.goto(f"{site}/sign-in")
    page.locator("form[action*='provider'] button, a[href*='provider']").first.click()
    page.get_by_role("button", name=subject).click()
    if refused:
        expect(page.get_by_text("Your account in Nightread is disabled.")).to_be_visible()
    else:
        expect(page.get_by_role("link", name="Queue")).to_be_visible()


def read_one(page: Page, site: str, row: int) -> None:
    page.goto(f"{site}/review?verdict=any")
    page.locator(".row").nth(row).click()
    wait_until_shown(page)
    before = page.url
    press(page, "1")
    expect(page).not_to_have_url(before)
