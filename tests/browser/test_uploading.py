"""Upload in a browser, with the whole program behind it: each verdict shows by itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, say_name, wait_until_looked
from tests.conftest import Stack
from tests.integration.webui.night import phantoms
from worker.ledger import audit

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.browser


@pytest.mark.stack
def test_every_verdict_shows_without_reloading(
    nightread_up: Stack, open_page: OpenPage, xrays: list[Path], tmp_path: Path
) -> None:
    count = len(xrays)
    broken = tmp_path / "broken.jpeg"
    broken.write_bytes(xrays[0].read_bytes()[:100])
    page = open_page()
    say_name(page, nightread_up.url)
    page.goto(f"{nightread_up.url}/upload")
    page.evaluate("window.neverReloaded = true")
    page.locator("#files").set_input_files([*xrays, broken])

    rows = page.locator(".arrival")
    expect(rows).to_have_count(count + 1)
    expect(page.locator("#summary")).to_have_text(f"All {count + 1} are done.", timeout=90_000)
    expect(rows.locator(".score .number")).to_have_count(count)
    expect(rows.filter(has_text="broken.jpeg")).to_contain_text("turned away")
    assert page.evaluate("window.neverReloaded") is True
    counts = nightread_up.file_counts()
    assert (counts.received, counts.scored, counts.rejected, counts.balanced) == (count + 1, count, 1, True)

    page.locator("#files").set_input_files(xrays[0])
    again = rows.nth(count + 1)
    expect(again).to_contain_text("The same picture is known already")
    expect(again.locator(".score .number")).to_be_visible()
    page.reload()
    expect(rows).to_have_count(count + 2)

    page.goto(f"{nightread_up.url}/review?verdict=any")
    page.locator(".row").first.click()
    for key in ("c", "o", "c"):
        wait_until_looked(page)
        before = page.url
        press(page, key)
        expect(page).not_to_have_url(before)
    with nightread_up.ledger.reading() as session:
        assert audit.verify(session).ok
    page.goto(f"{nightread_up.url}/review?verdict=any&reading=read")
    expect(page.locator(".row")).to_have_count(3)


def test_a_plain_form_sends_files_too(site: Site, open_page: OpenPage, drawn: Path) -> None:
    page = open_page(java_script_enabled=False)
    say_name(page, site.url)
    page.goto(f"{site.url}/upload")
    page.locator("#files").set_input_files(phantoms(drawn, [901, 902]))
    page.get_by_role("button", name="Send").click()
    expect(page).to_have_url(f"{site.url}/upload?receipts=6-7")
    expect(page.locator(".arrival")).to_have_count(2)
    expect(page.locator(".message")).to_contain_text("will be queued by itself")
    site.night.score({6: 0.9, 7: 0.1})
    # The page asks to be loaded again every three seconds as long as something is missing.
    expect(page.locator(".score .number")).to_have_count(2)


def test_files_can_be_dropped(site: Site, open_page: OpenPage, drawn: Path) -> None:
    page = open_page()
    say_name(page, site.url)
    page.goto(f"{site.url}/upload")
    content = list(phantoms(drawn, [903])[0].read_bytes())
    page.evaluate(
        """content => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(content)], "dropped.jpg", { type: "image/jpeg" }));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, cancelable: true }));
        }""",
        content,
    )
    row = page.locator("#receipt-6")
    expect(row).to_contain_text("dropped.jpg")
    expect(row).to_contain_text("waits to be scored")
    site.night.score({6: 0.9})
    expect(row).to_contain_text("flagged")
    expect(page.locator("#summary")).to_have_text("All 1 are done.")


def test_a_file_that_cannot_be_sent_says_so(site: Site, open_page: OpenPage, drawn: Path) -> None:
    page = open_page(expected=("Failed to load resource",))
    say_name(page, site.url)
    page.goto(f"{site.url}/upload")
    page.route("**/api/v1/images", lambda route: route.abort())
    page.locator("#files").set_input_files(phantoms(drawn, [904]))
    expect(page.locator(".arrival")).to_contain_text("It could not be sent: the connection broke off.")
    page.unroute("**/api/v1/images")
    page.context.clear_cookies()
    page.locator("#files").set_input_files(phantoms(drawn, [904]))
    expect(page.locator(".arrival").nth(1)).to_contain_text("Say who reads")
