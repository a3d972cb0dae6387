"""Reading in a browser: keyboard shortcuts, claims, image controls, and pages without JavaScript."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from tests.browser.serving import Site, press, serving, sign_in, wait_until_shown
from tests.integration.webui.night import RUN, phantoms
from webui.formatting import CHOICES
from worker.ledger import actors, audit, reading_queue, review, sign_ins, users
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.tables import Image, Review

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]


def standing(site: Site, image_id: int) -> Review | None:
    with site.night.ledger.reading() as session:
        image = reading_queue.open_image(session, image_id)
        assert image is not None
        return review.standing_reviews(session, [image]).get(image_id)


def read(site: Site) -> list[int]:
    """Return the ids of the images that have been read."""
    with site.night.ledger.reading() as session:
        return [i for i in range(1, 6) if session.get_one(Image, i).review_state == "read"]


def test_reader_reads_the_whole_queue_by_keyboard(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    expect(page.get_by_role("heading", name="Queue 4")).to_be_visible()
    press(page, "j")
    expect(page.locator(".row").first).to_be_focused()
    press(page, "Enter")
    expect(page).to_have_url(f"{site.url}/review/1")

    wait_until_shown(page)
    press(page, "1")
    expect(page).to_have_url(f"{site.url}/review/2")
    expect(page.locator(".message.reading")).to_contain_text("Recorded: signs of pneumonia, phantom-000.jpg.")
    wait_until_shown(page)
    press(page, "2")
    expect(page).to_have_url(f"{site.url}/review/3")
    wait_until_shown(page)
    press(page, "u")
    expect(page).to_have_url(f"{site.url}/review/2")
    expect(page.locator(".message.undone")).to_contain_text("Taken back: no signs, phantom-001.jpg.")
    assert read(site) == [1]

    for next_path in ("/review/3", "/review/4", "/review/summary"):
        wait_until_shown(page)
        press(page, "1")
        expect(page).to_have_url(f"{site.url}{next_path}")
    expect(page.locator(".message.reading")).to_contain_text("Recorded: signs of pneumonia, phantom-003.jpg.")
    expect(page.locator("#findings")).to_contain_text("4")
    expect(page.locator("#agreement")).to_contain_text("You agreed with the verdict of 3 of 3 images")
    expect(page.locator("#apart")).to_contain_text("uncertain, you said signs")
    expect(page.get_by_text("images open, together")).to_be_visible()
    expect(page.locator("#remaining").get_by_role("link", name="clear, read by nobody")).to_be_visible()
    press(page, "z")
    expect(page).to_have_url(f"{site.url}/review/4")
    assert read(site) == [1, 2, 3]
    with site.night.ledger.reading() as session:
        assert audit.verify(session).ok


def test_j_and_k_move_without_deciding(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/review/2?run={RUN}")
    press(page, "j")
    expect(page).to_have_url(f"{site.url}/review/3?run={RUN}")
    press(page, "k")
    expect(page).to_have_url(f"{site.url}/review/2?run={RUN}")
    assert read(site) == []


def test_held_key_decides_once(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    page.keyboard.down("1")
    expect(page).to_have_url(f"{site.url}/review/2")
    wait_until_shown(page)
    page.keyboard.down("1")
    page.keyboard.down("1")
    page.keyboard.up("1")
    expect(page.locator("#decide")).to_be_visible()
    expect(page).to_have_url(f"{site.url}/review/2")
    assert read(site) == [1]


def test_image_that_is_not_displayed_cannot_be_read(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=("Failed to load resource",))
    sign_in(page, site)
    page.route("**/picture*", lambda route: route.abort())
    page.goto(f"{site.url}/review/1")
    expect(page.locator("#hint")).to_have_text("The image cannot be displayed.")
    press(page, "1")
    expect(page.locator("#hint")).to_have_text("The image cannot be displayed, so you cannot decide on it.")
    assert read(site) == []


def test_letters_of_a_note_are_not_shortcuts(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    press(page, "n")
    page.keyboard.type("no focus, rotated: cou?")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("no focus, rotated: cou?")
    expect(page).to_have_url(f"{site.url}/review/1")
    press(page, "Escape")
    press(page, "2")
    expect(page).to_have_url(f"{site.url}/review/2")
    reading = standing(site, 1)
    assert reading is not None
    assert (reading.finding, reading.note) == ("no_signs", "no focus, rotated: cou?")


def reading_of(site: Site, image_id: int) -> Review:
    found = standing(site, image_id)
    assert found is not None
    return found


@pytest.mark.parametrize(("key", "choice"), [(str(n), choice) for n, (choice, _) in enumerate(CHOICES, 1)])
def test_each_finding_has_a_key_that_means_it_on_every_image(
    site: Site, open_page: OpenPage, key: str, choice: str
) -> None:
    page = open_page()
    sign_in(page, site)
    for image_id in (1, 4, 5):
        page.goto(f"{site.url}/review/{image_id}")
        wait_until_shown(page)
        expect(page.locator("[aria-pressed=true]")).to_have_count(0)
        press(page, key)
        expect(page.locator(".message.reading")).to_be_visible()
        reading = reading_of(site, image_id)
        assert "/".join(filter(None, (reading.finding, reading.reason_code))) == choice


def test_reading_says_whether_the_map_was_shown_and_how_long_the_image_was_open(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()
    sign_in(page, site)
    for image_id, keys in ((1, ["m", "m"]), (2, [])):
        page.goto(f"{site.url}/review/{image_id}")
        wait_until_shown(page)
        for key in [*keys, "2"]:
            press(page, key)
        expect(page.locator(".message.reading")).to_be_visible()
    first, second = reading_of(site, 1), reading_of(site, 2)
    assert (first.score_shown, first.map_shown) == (True, True), "also if it was hidden again"
    assert (second.score_shown, second.map_shown) == (True, False)
    assert all(250 <= (reading.open_ms or 0) < 600_000 for reading in (first, second))


def test_draft_of_a_note_survives_reload_and_navigation_until_it_is_sent(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page()
    sign_in(page, site)
    note, other = (page.get_by_role("textbox", name=name) for name in ("Note", "Other finding"))
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    press(page, "n")
    page.keyboard.type("left base")
    press(page, "Escape")
    press(page, "f")
    page.keyboard.type("old fracture")
    expect(page.locator("#draft-kept")).to_be_visible()
    page.reload()
    expect(note).to_have_value("left base")
    page.goto(f"{site.url}/review/2")
    expect(note).to_have_value("")
    expect(page.locator("#draft-kept")).to_be_hidden()
    sign_in(page, site, "Ben Day")
    page.goto(f"{site.url}/review/1")
    expect(note).to_have_value("")
    # With another image open, Ben's claim on the first one is over.
    open_and_claim(page, site, 3)
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    expect(note).to_have_value("left base")
    expect(other).to_have_value("old fracture")

    wait_until_shown(page)
    press(page, "n")
    press(page, "Control+Enter")
    expect(page.locator("#hint")).to_contain_text("Press 1 to 6")
    assert read(site) == []
    expect(note).not_to_be_focused()
    press(page, "Shift+Digit2")
    expect(page.locator("[aria-pressed=true]")).to_contain_text("No signs")
    expect(note).to_be_focused()
    press(page, "Control+Enter")
    expect(page).to_have_url(f"{site.url}/review/2")
    reading = reading_of(site, 1)
    assert (reading.finding, reading.note, reading.other_finding) == ("no_signs", "left base", "old fracture")
    page.wait_for_function("() => !Object.keys(sessionStorage).some(key => key.startsWith('draft'))")


def test_u_takes_back_the_reading_in_front_of_the_reader(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    for image_id in (1, 2):
        page.goto(f"{site.url}/review/{image_id}")
        wait_until_shown(page)
        press(page, "1")
        expect(page.locator(".message.reading")).to_be_visible()
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    press(page, "2")
    expect(page.locator("#hint")).to_contain_text("Press A to change your reading")
    press(page, "u")
    expect(page.locator(".message.undone")).to_contain_text("signs of pneumonia, phantom-000.jpg")
    expect(page).to_have_url(f"{site.url}/review/1")
    assert read(site) == [2]
    with site.night.ledger.reading() as session:
        undone = session.scalars(select(Review).where(Review.action == "undo")).one()
    assert (undone.score_shown, undone.map_shown) == (True, False)
    assert (undone.open_ms or 0) >= 250


def test_a_changes_the_readers_own_reading(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    press(page, "1")
    expect(page).to_have_url(f"{site.url}/review/2")
    page.goto(f"{site.url}/review/1")
    press(page, "a")
    expect(page.locator("#why")).to_be_focused()
    page.keyboard.type("lateral after all")
    page.reload()
    expect(page.locator("#why")).to_have_value("lateral after all")
    wait_until_shown(page)
    press(page, "4")
    press(page, "a")
    press(page, "Control+Enter")
    expect(page.locator(".message.reading")).to_contain_text("Changed: cannot be judged: wrong view")
    expect(page.locator("#why")).to_have_value("")
    reading = reading_of(site, 1)
    assert (reading.action, reading.reason_code, reading.why) == ("amend", "wrong_view", "lateral after all")
    with site.night.ledger.reading() as session:
        assert audit.verify(session).ok


def test_rejected_image_is_read_in_the_full_viewer(
    site: Site, open_page: OpenPage, phantom_folder: Path
) -> None:
    (refused,) = site.night.accept(phantoms(phantom_folder, [960]))
    site.night.score({}, rejected=[refused.image_id])
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/rejected")
    page.get_by_role("link", name="Read without a score").click()
    wait_until_shown(page)
    press(page, "i")
    press(page, "5")
    expect(page).to_have_url(f"{site.url}/rejected")
    expect(page.get_by_text("Read by Ada Night: cannot be judged: not a chest.")).to_be_visible()
    assert (reading_of(site, refused.image_id).score_shown) is False
    press(page, "u")
    expect(page).to_have_url(f"{site.url}/review/{refused.image_id}")


def test_question_mark_shows_the_shortcuts(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/review/1")
    wait_until_shown(page)
    press(page, "?")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("signs of pneumonia, next image")
    press(page, "1")
    press(page, "Escape")
    expect(dialog).to_be_hidden()
    assert read(site) == []


def claimed_by(site: Site, image_id: int) -> str | None:
    with site.night.ledger.reading() as session:
        holder = session.get_one(Image, image_id).claimed_by
        return holder.name if holder else None


def open_and_claim(page: Page, site: Site, image_id: int) -> None:
    with page.expect_response("**/claim"):
        page.goto(f"{site.url}/review/{image_id}")


def test_second_reader_sees_who_claimed_the_image(site: Site, open_page: OpenPage) -> None:
    ada, bob = open_page(), open_page()
    sign_in(ada, site, "Ada")
    sign_in(bob, site, "Bob")
    open_and_claim(ada, site, 1)
    open_and_claim(bob, site, 1)
    expect(bob.locator(".decision")).to_contain_text(
        re.compile("Ada has claimed this image until [0-9-]{10} [0-9:]{8}")
    )
    expect(bob.locator("#decide")).to_have_count(0)
    press(bob, "1")
    expect(bob.locator("#hint")).to_have_text(re.compile("^Ada has claimed this image until .*[.]$"))
    assert read(site) == []


HIDE = "Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => window.shown ?? 'hidden' })"
SHOW = "window.shown = 'visible'; document.dispatchEvent(new Event('visibilitychange'))"


def test_page_claims_its_image_only_while_it_is_on_the_screen(site: Site, open_page: OpenPage) -> None:
    """A tab behind others, or a page that the browser loads in advance, keeps nobody from reading."""
    ada, bob = open_page(), open_page()
    sign_in(ada, site, "Ada")
    sign_in(bob, site, "Bob")
    ada.add_init_script(HIDE)
    ada.goto(f"{site.url}/review/1")
    wait_until_shown(ada)
    assert claimed_by(site, 1) is None
    open_and_claim(bob, site, 1)
    assert claimed_by(site, 1) == "Bob"

    ada.evaluate(SHOW)
    expect(ada.get_by_role("alert")).to_contain_text("Bob has claimed this image until")
    expect(ada.locator("[data-key='1']")).to_be_disabled()
    press(ada, "1")
    open_and_claim(bob, site, 2)
    ada.evaluate(SHOW)
    expect(ada.get_by_role("alert")).to_have_count(0)
    expect(ada.locator("[data-key='1']")).to_be_enabled()
    assert claimed_by(site, 1) == "Ada"
    assert read(site) == []


def sign_in_without_a_name(page: Page, site: Site) -> None:
    """Sign the first administrator in, who has entered no name yet."""
    with site.ledger.transaction() as session:
        at = ledger_time(session)
        first = users.first_administrator(session, at)
        assert first is not None
        key = sign_ins.make_link(session, first, actor=actors.PROGRAM, at=at)
    page.goto(f"{site.url}/sign-in/{key}")
    expect(page.get_by_role("heading", name="Home")).to_be_visible()


def test_key_of_a_finding_asks_for_the_name_first(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in_without_a_name(page, site)
    page.goto(f"{site.url}/review/2")
    wait_until_shown(page)
    page.keyboard.press("1")
    expect(page.locator("#hint")).to_have_text(
        "Enter your name before you read: it stands beside your readings."
    )
    assert read(site) == []


def test_key_of_a_finding_says_that_a_waiting_image_cannot_be_read(
    site: Site, open_page: OpenPage, phantom_folder: Path
) -> None:
    (waiting,) = site.night.accept(phantoms(phantom_folder, [711]))
    page = open_page()
    sign_in(page, site)
    page.goto(f"{site.url}/review/{waiting.image_id}")
    press(page, "1")
    expect(page.locator("#hint")).to_have_text("This image cannot be read now.")


def test_name_form_leads_back_to_the_image(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in_without_a_name(page, site)
    page.goto(f"{site.url}/review/2?verdict=flagged")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_role("button", name="Continue").click()
    expect(page).to_have_url(f"{site.url}/review/2?verdict=flagged")
    expect(page.locator("#decide")).to_be_visible()


def test_strip_refreshes_and_warns_when_the_server_is_gone(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=("ERR_CONNECTION_REFUSED", "htmx:", "/status/strip"))
    sign_in(page, site)
    with serving(site.night) as served:
        page.goto(f"{served.url}/runs")
        expect(page.locator("#strip")).to_contain_text("4 to read")
        with site.night.ledger.transaction() as session:
            session.get_one(Image, 1).review_state = "read"
        expect(page.locator("#strip")).to_contain_text("3 to read")
    expect(page.locator("#strip")).to_contain_text(re.compile("No response from Nightread since"))


PAGES = (
    "/review",
    "/review/1",
    "/review/6",
    "/review/7",
    "/upload",
    "/upload?receipts=1-7",
    "/rejected",
    "/models",
    "/account",
    "/people",
)
LONG = "n" * 296 + ".jpg"


@pytest.mark.parametrize("width", [390, 820, 1280])
def test_page_is_not_wider_than_the_screen(
    site: Site, open_page: OpenPage, phantom_folder: Path, tmp_path: Path, width: int
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"")
    site.night.accept([*phantoms(phantom_folder, [950]), broken], names=[LONG, LONG], run=LONG[:200])
    site.night.score({6: 0.99})
    page = open_page(viewport={"width": width, "height": 800})
    sign_in(page, site, roles=tuple(Role))
    for url in (*PAGES, "/runs", "/runs/2"):
        page.goto(f"{site.url}{url}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, url


def test_reading_works_without_javascript(site: Site, open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, site)
    page.locator(".row").first.click()
    page.get_by_label("Map").check()
    expect(page.locator("#map")).to_have_css("opacity", "1")
    expect(page.locator("#zoom-in")).to_be_hidden()
    page.get_by_role("textbox", name="Note").fill("by mouse")
    page.get_by_role("button", name="No signs").click()
    expect(page).to_have_url(f"{site.url}/review/2")
    assert claimed_by(site, 2) == "Ada Night"
    page.locator(".message.reading").get_by_role("button", name="Undo").click()
    expect(page).to_have_url(f"{site.url}/review/1")
    page.get_by_role("button", name="Signs of pneumonia").click()
    expect(page).to_have_url(f"{site.url}/review/2")
    assert read(site) == [1]
