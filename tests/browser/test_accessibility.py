"""axe-core finds nothing on any page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.integration.webui.night import RUN, phantoms
from tests.signing_in import session_key
from worker.ledger.roles import Role

pytestmark = pytest.mark.browser

PAGES = (
    "/",
    "/review",
    "/review/summary",
    "/review/1",
    "/upload",
    "/upload?receipts=1-5",
    "/runs",
    f"/runs/{RUN}",
    "/rejected",
    "/rescored",
    "/models",
    "/models/compare",
    "/account",
    "/account/tokens",
    "/erase?images=1-3",
    "/tokens",
    "/people",
    "/protocol",
    "/thresholds?point=screen",
    "/thresholds/workbench",
    "/thresholds/calibration",
    "/agreement",
    "/monitor?by=age",
    "/audit",
    "/audit?image=1",
    "/nothing-here",
)


def problems(page: Page) -> list[str]:
    """Return rule, impact and place of each problem that axe-core finds."""
    # An element may be visible before every style sheet has come.
    page.wait_for_load_state()
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']} ({rule['impact']}): {node['html'][:200]}" for rule in found for node in rule["nodes"]
    ]


def make_token(page: Page) -> None:
    """Fill in the form for a new API token and send it."""
    page.get_by_label("Name").fill("import script")
    page.get_by_label("images:read").check()
    page.get_by_role("button", name="Make token").click()
    expect(page.get_by_text("Copy this key now.")).to_be_visible()


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "dark"), (820, "light")])
def test_pages_have_no_barriers(
    site: Site, open_page: Callable[..., Page], phantom_folder: Path, tmp_path: Path, width: int, theme: str
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    refused, _ = site.night.accept([*phantoms(phantom_folder, [961]), broken])
    site.night.score({}, rejected=[refused.image_id])
    page = open_page(viewport={"width": width, "height": 800}, bypass_csp=True, expected=("404",))
    page.context.add_cookies([{"name": "nightread_theme", "value": theme, "url": site.url}])
    page.goto(f"{site.url}/sign-in")
    found = {"/sign-in": problems(page)}
    sign_in(page, site, roles=tuple(Role))
    for address in PAGES:
        page.goto(f"{site.url}{address}")
        found[address] = problems(page)
    page.goto(f"{site.url}/review/{refused.image_id}")
    found["read without a score"] = problems(page)
    page.goto(f"{site.url}/review/2")
    wait_until_shown(page)
    press(page, "Shift+Digit3")
    found["chosen finding"] = problems(page)
    press(page, "Control+Enter")
    expect(page.locator(".message.reading")).to_be_visible()
    found["after a reading"] = problems(page)
    page.goto(f"{site.url}/review/summary")
    found["summary of a reading"] = problems(page)
    page.goto(f"{site.url}/review/2")
    press(page, "a")
    found["change of a reading"] = problems(page)
    session_key(site.ledger, "Ada Night", tuple(Role))
    page.goto(f"{site.url}/people")
    page.get_by_text("2 sessions, last used").click()
    expect(page.get_by_role("button", name="End the session of Ada Night")).to_have_count(1)
    found["sessions of a person"] = problems(page)
    page.get_by_role("button", name="New sign-in link").click()
    found["link"] = problems(page)
    page.goto(f"{site.url}/account/tokens")
    make_token(page)
    found["new token"] = problems(page)
    page.goto(f"{site.url}/tokens")
    found["a token"] = problems(page)
    assert {address: barriers for address, barriers in found.items() if barriers} == {}


@pytest.mark.parametrize("width", [320, 1280])
def test_claimed_image_and_unsent_reading_have_no_barriers(
    site: Site, open_page: Callable[..., Page], width: int
) -> None:
    ada = open_page(
        viewport={"width": width, "height": 800}, bypass_csp=True, expected=("ERR_", "htmx:", "/status/strip")
    )
    ben = open_page(viewport={"width": width, "height": 800}, bypass_csp=True)
    sign_in(ada, site, "Ada Night")
    sign_in(ben, site, "Ben Day")
    with ada.expect_response("**/claim"):
        ada.goto(f"{site.url}/review/1")
    ben.goto(f"{site.url}/review/1")
    expect(ben.get_by_role("button", name="Take over")).to_be_visible()
    found = {"claimed": problems(ben)}
    wait_until_shown(ada)
    press(ada, "n")
    ada.keyboard.type("left base " * 20)
    press(ada, "Escape")
    ada.route("**/decide*", lambda route: route.abort())
    press(ada, "1")
    expect(ada.locator("#unsent")).to_contain_text("Not sent yet")
    found["unsent"] = problems(ada)
    for page in (ada, ben):
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    ada.evaluate("document.querySelector('form.out').requestSubmit()")
    expect(ada.get_by_role("dialog", name="1 reading is not recorded")).to_be_visible()
    found["signing out"] = problems(ada)
    assert found == {state: [] for state in found}
