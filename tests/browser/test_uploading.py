"""Upload in a browser, with and without JavaScript."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.conftest import Stack
from tests.integration.webui.night import phantoms
from worker.ledger import audit

OpenPage = Callable[..., Page]

pytestmark = pytest.mark.browser


@pytest.mark.stack
def test_verdicts_appear_without_reloading(
    nightread_up: Stack, open_page: OpenPage, xrays: list[Path], tmp_path: Path
) -> None:
    sent = xrays[::4]
    count = len(sent)
    broken = tmp_path / "broken.jpeg"
    broken.write_bytes(sent[0].read_bytes()[:100])
    page = open_page()
    sign_in(page, nightread_up)
    page.goto(f"{nightread_up.url}/upload")
    page.evaluate("window.neverReloaded = true")
    page.locator("#files").set_input_files([*sent, broken])

    rows = page.locator(".arrival")
    expect(rows).to_have_count(count + 1)
    expect(page.locator("#summary")).to_have_text(f"{count + 1} of {count + 1} files done.")
    expect(rows.locator(".score .number")).to_have_count(count)
    expect(rows.filter(has_text="broken.jpeg")).to_contain_text("rejected")
    assert page.evaluate("window.neverReloaded") is True
    counts = nightread_up.file_counts()
    assert (counts.received, counts.scored, counts.rejected, counts.balanced) == (count + 1, count, 1, True)

    page.locator("#files").set_input_files(sent[0])
    again = rows.nth(count + 1)
    expect(again).to_contain_text("Duplicate: this file arrived before")
    expect(again.locator(".score .number")).to_be_visible()
    page.reload()
    expect(rows).to_have_count(count + 2)

    page.goto(f"{nightread_up.url}/review?verdict=any")
    page.locator(".row").first.click()
    for key in ("c", "o", "c"):
        wait_until_shown(page)
        before = page.url
        press(page, key)
        expect(page).not_to_have_url(before)
    with nightread_up.ledger.reading() as session:
        assert audit.verify(session).ok
    page.goto(f"{nightread_up.url}/review?verdict=any&reading=read")
    expect(page.locator(".row")).to_have_count(3)


def test_upload_works_without_javascript(site: Site, open_page: OpenPage, phantom_folder: Path) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.locator("#files").set_input_files(phantoms(phantom_folder, [901, 902]))
    page.get_by_role("button", name="Upload").click()
    expect(page).to_have_url(f"{site.url}/upload?receipts=6-7")
    expect(page.locator(".arrival")).to_have_count(2)
    expect(page.locator(".message")).to_contain_text("Nightread will queue them later, automatically")
    site.night.score({6: 0.9, 7: 0.1})
    # The page reloads every three seconds until every file has its result.
    expect(page.locator(".score .number")).to_have_count(2)


def test_files_can_be_dropped_on_the_page(site: Site, open_page: OpenPage, phantom_folder: Path) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    content = list(phantoms(phantom_folder, [903])[0].read_bytes())
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
    expect(row).to_contain_text("pending")
    site.night.score({6: 0.9})
    expect(row).to_contain_text("flagged")
    expect(page.locator("#summary")).to_have_text("1 of 1 files done.")


def test_failed_upload_says_so(site: Site, open_page: OpenPage, phantom_folder: Path) -> None:
    page = open_page(expected=("Failed to load resource",))
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.route("**/api/v1/images", lambda route: route.abort())
    page.locator("#files").set_input_files(phantoms(phantom_folder, [904]))
    expect(page.locator(".arrival")).to_contain_text("The upload failed: the connection was lost.")
    page.unroute("**/api/v1/images")
    page.context.clear_cookies()
    page.locator("#files").set_input_files(phantoms(phantom_folder, [904]))
    expect(page.locator(".arrival").nth(1)).to_contain_text("Sign in first.")
