"""Upload in a browser, with and without JavaScript."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Dialog, Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.conftest import Stack
from tests.filling import follow
from tests.integration.webui.night import phantoms
from worker.ledger import audit
from worker.ledger.protocols import Protocol

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
    # A drawn image would hide its score.
    follow(nightread_up.ledger, Protocol(sample_share=0))
    page.goto(f"{nightread_up.url}/upload")
    page.evaluate("window.neverReloaded = true")
    page.locator("#files").set_input_files([*sent, broken])

    rows = page.locator(".arrival")
    expect(rows).to_have_count(count + 1)
    expect(page.locator("#summary")).to_contain_text(f"{count + 1} of {count + 1} files done: ")
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
    for key in ("1", "2", "1"):
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
    expect(page.locator("#summary")).to_have_text("1 of 1 files done: 1 flagged.")


def test_failed_uploads_are_counted_and_sent_again(
    site: Site, open_page: OpenPage, phantom_folder: Path
) -> None:
    page = open_page(expected=("Failed to load resource",))
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.route("**/api/v1/images", lambda route: route.abort())
    page.locator("#files").set_input_files(phantoms(phantom_folder, [904, 905, 906]))
    summary, again = page.locator("#summary"), page.get_by_role("button", name=re.compile("Send .* again"))
    expect(summary).to_have_text("0 of 3 files done. 3 were not sent.")
    expect(page.locator(".arrival.failed")).to_have_count(3)
    expect(page.locator(".arrival").first).to_contain_text("Not sent: the connection was lost.")
    assert is_asked_before_leaving(page, f"{site.url}/review"), "the files would be lost"

    page.unroute("**/api/v1/images")
    again.click()
    expect(page.locator(".arrival[data-waiting]")).to_have_count(3)
    expect(again).to_be_hidden()
    site.night.score({6: 0.9, 7: 0.5, 8: 0.1})
    expect(summary).to_have_text("3 of 3 files done: 1 flagged, 1 uncertain, 1 clear.")
    assert not is_asked_before_leaving(page, f"{site.url}/review")


def test_upload_of_who_is_signed_out_is_not_lost(
    site: Site, open_page: OpenPage, phantom_folder: Path
) -> None:
    page = open_page(expected=("Failed to load resource", "htmx:", "/status/strip"))
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    cookies = page.context.cookies()
    page.context.clear_cookies()
    page.locator("#files").set_input_files(phantoms(phantom_folder, [904]))
    expect(page.locator(".arrival")).to_contain_text("Not sent: Sign in first.")
    page.context.add_cookies(
        [{**cookie, "url": site.url, "domain": None, "path": None} for cookie in cookies]
    )
    page.get_by_role("button", name="Send 1 file again").click()
    expect(page.locator("#receipt-6")).to_contain_text("pending")


@pytest.fixture
def tree(tmp_path: Path, phantom_folder: Path) -> Path:
    """A folder with an image, a folder in it with another one, and what file managers leave behind."""
    one, two = phantoms(phantom_folder, [907, 908])
    inner = tmp_path / "study" / "series"
    inner.mkdir(parents=True)
    shutil.copy(one, inner.parent / "one.jpg")
    shutil.copy(two, inner / "two.jpg")
    (inner / "Thumbs.db").write_bytes(b"x")
    (inner / ".DS_Store").write_bytes(b"x")
    return inner.parent


def test_folder_can_be_chosen(site: Site, open_page: OpenPage, tree: Path) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.locator("#folder").set_input_files(tree)
    expect(page.locator(".arrival[data-waiting]")).to_have_count(2)
    expect(page.locator(".arrival")).to_have_count(2)


def test_folder_can_be_dropped(site: Site, open_page: OpenPage, tree: Path) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.wait_for_load_state("load")
    drop(page, tree)
    expect(page.locator(".arrival[data-waiting]")).to_have_count(2)
    expect(page.locator(".arrival")).to_have_count(2)


# A folder on a slow share: its entries come once the test says so.
SLOW_FOLDERS = """() => {
    const { webkitGetAsEntry } = DataTransferItem.prototype;
    const mayList = new Promise((resolve) => { window.list = resolve; });
    DataTransferItem.prototype.webkitGetAsEntry = function () {
        const entry = webkitGetAsEntry.call(this);
        const reader = entry.createReader();
        const readEntries = reader.readEntries.bind(reader);
        reader.readEntries = (...args) => mayList.then(() => readEntries(...args));
        entry.createReader = () => reader;
        return entry;
    };
}"""


def test_dropped_folder_gets_the_patient_that_was_typed_before_the_drop(
    site: Site, open_page: OpenPage, tree: Path
) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.wait_for_load_state("load")
    page.evaluate(SLOW_FOLDERS)
    age = page.locator("#age_years")
    page.locator("#patient-fields summary").click()
    age.fill("3")
    drop(page, tree)
    expect(age).to_have_value("")
    age.fill("40")
    page.evaluate("window.list()")
    expect(page.locator(".arrival[data-waiting]")).to_have_count(2)
    ages = [page.request.get(f"{site.url}/api/v1/images/{image}").json()["age_years"] for image in (6, 7)]
    assert ages == [3, 3]
    expect(age).to_have_value("40")


def test_patient_is_put_back_when_a_drop_sends_nothing(site: Site, open_page: OpenPage, tree: Path) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/upload")
    page.wait_for_load_state("load")
    page.evaluate(SLOW_FOLDERS)
    fields = [page.locator(f"#{name}") for name in ("age_years", "sex")]
    page.locator("#patient-fields summary").click()
    fields[0].fill("3")
    fields[1].select_option("F")
    drop(page, tree)
    expect(fields[0]).to_have_value("")
    shutil.rmtree(tree)
    page.evaluate("window.list()")
    expect(page.locator("#summary")).to_contain_text("What you dropped cannot be read.")
    assert [field.input_value() for field in fields] == ["3", "F"]

    tree.mkdir()
    drop(page, tree)
    for field, value in zip(fields, ("3", "F"), strict=True):
        expect(field).to_have_value(value)


def drop(page: Page, folder: Path) -> None:
    """Drop a folder on the page, as from a file manager."""
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(folder)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        devtools.send("Input.dispatchDragEvent", {"type": kind, "x": 300, "y": 200, "data": data})


def is_asked_before_leaving(page: Page, address: str) -> bool:
    """Follow a link, and stay if the browser asks."""
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    page.once("dialog", stay)
    page.get_by_role("link", name="Queue").click()
    if not asked:
        expect(page).to_have_url(address)
    return asked == ["beforeunload"]
