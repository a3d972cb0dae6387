"""Readings that cannot be sent: kept with their words, sent again, once, and by the same reader only."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select, update
from werkzeug.serving import make_server

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.conftest import wait_for
from webui import create_app
from webui.access.identity import COOKIE
from webui.dependencies import EXTENSION
from worker.ledger import audit
from worker.ledger.session import ledger_time
from worker.ledger.tables import BrowserSession, Review

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
OFFLINE = ("Failed to load resource", "ERR_", "htmx:", "/status/strip")


def readings(site: Site) -> list[tuple[int, str, str, str]]:
    with site.ledger.reading() as session:
        rows = session.scalars(select(Review).order_by(Review.id)).all()
        return [(row.image_id, row.user.name, row.finding or "", row.note) for row in rows]


def open_image(page: Page, site: Site, image_id: int, note: str = "") -> None:
    page.goto(f"{site.url}/review/{image_id}")
    wait_until_shown(page)
    if note:
        press(page, "n")
        page.keyboard.type(note)
        press(page, "Escape")


@contextmanager
def served_again(site: Site) -> Iterator[None]:
    """Serve the pages on the same port again inside the block."""
    app = create_app(site.night.settings)
    server = make_server("127.0.0.1", site.server.server_port, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        app.extensions[EXTENSION].ledger.close()


def test_offline_minute_costs_nothing(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1, "left base")
    page.context.set_offline(True)
    press(page, "1")
    unsent = page.locator("#unsent")
    expect(unsent).to_contain_text("Not sent yet: signs of pneumonia, image 1. Nightread cannot be reached.")
    expect(unsent).to_contain_text("left base")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("left base")
    expect(page.locator("[aria-pressed=true]")).to_contain_text("Signs of pneumonia")
    press(page, "2")
    expect(page.locator("#hint")).to_contain_text("Your reading is not recorded yet.")
    press(page, "j")
    expect(page.locator("#stayed")).to_contain_text("Nightread cannot be reached, so this page stays.")
    expect(page).to_have_url(f"{site.url}/review/1")
    assert readings(site) == []

    page.context.set_offline(False)
    expect(page).to_have_url(f"{site.url}/review/2")
    expect(page.locator(".message.reading")).to_contain_text("Recorded: signs of pneumonia")
    expect(unsent).to_be_hidden()
    assert readings(site) == [(1, "Ada Night", "signs_of_pneumonia", "left base")]
    page.wait_for_function("() => !Object.keys(sessionStorage).some(key => /^(draft|unsent)/.test(key))")


def test_unsent_reading_survives_a_reload_while_the_server_is_away(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1, "left base")
    page.route("**/decide*", lambda route: route.fulfill(status=503, body="<h1>Bad gateway</h1>"))
    press(page, "4")
    unsent = page.locator("#unsent")
    said = "Not sent yet: cannot be judged: wrong view, image 1. Nightread cannot record it now."
    expect(unsent).to_contain_text(said)
    page.reload()
    expect(unsent).to_contain_text(said)
    expect(page.locator("[aria-pressed=true]")).to_contain_text("Wrong view")
    expect(page.get_by_role("textbox", name="Note")).to_have_value("left base")
    page.goto(f"{site.url}/review/3")
    expect(unsent).to_contain_text("image 1")
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)
    page.unroute("**/decide*")
    expect(page.locator(".message.reading")).to_contain_text("Recorded: cannot be judged: wrong view")
    expect(unsent).to_be_hidden()
    expect(page).to_have_url(f"{site.url}/review/3")
    assert readings(site) == [(1, "Ada Night", "cannot_be_judged", "left base")]
    page.goto(f"{site.url}/review/1")
    expect(page.locator("#standing")).to_contain_text("You read this image")


def test_reading_is_sent_when_a_stopped_server_is_back(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1)
    site.server.shutdown()
    site.server.server_close()
    press(page, "2")
    expect(page.locator("#unsent")).to_contain_text("Nightread cannot be reached.")
    with served_again(site):
        expect(page).to_have_url(f"{site.url}/review/2")
        wait_until_shown(page)
        page.context.close()
    assert [row[:3] for row in readings(site)] == [(1, "Ada Night", "no_signs")]


def test_reading_whose_answer_was_lost_is_recorded_once(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1, "left base")
    lost: list[int] = []

    def lose_the_first_answer(route: Route) -> None:
        answer = route.fetch()
        if lost:
            route.fulfill(response=answer)
        else:
            lost.append(answer.status)
            route.abort()

    page.route("**/decide*", lose_the_first_answer)
    press(page, "1")
    expect(page).to_have_url(f"{site.url}/review/2")
    # Playwright keeps the cookie of the lost answer, so the page may say it twice.
    expect(page.locator(".message.reading").first).to_contain_text("Recorded: signs of pneumonia")
    assert lost == [200]
    assert readings(site) == [(1, "Ada Night", "signs_of_pneumonia", "left base")]
    with site.ledger.reading() as session:
        assert audit.verify(session).ok


def test_reader_can_withdraw_what_is_not_sent(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1, "left base")
    page.context.set_offline(True)
    press(page, "1")
    page.get_by_role("button", name="Do not send").click()
    expect(page.locator("#unsent")).to_be_hidden()
    expect(page.get_by_role("textbox", name="Note")).to_have_value("left base")
    page.context.set_offline(False)
    press(page, "2")
    expect(page).to_have_url(f"{site.url}/review/2")
    assert readings(site) == [(1, "Ada Night", "no_signs", "left base")]


def test_reading_that_replaces_one_on_its_way_is_sent(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1)
    on_their_way: list[Route] = []

    def hold_the_first(route: Route) -> None:
        if on_their_way:
            route.continue_()
        else:
            on_their_way.append(route)

    page.route("**/decide*", hold_the_first)
    press(page, "1")
    expect(page.locator("#unsent")).to_contain_text("It is being sent.")
    page.get_by_role("button", name="Do not send").click()
    press(page, "2")
    on_their_way[0].fulfill(status=503)
    expect(page).to_have_url(f"{site.url}/review/2")
    assert [row[:3] for row in readings(site)] == [(1, "Ada Night", "no_signs")]


def test_undo_and_change_stay_on_the_page_when_offline(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1)
    press(page, "1")
    expect(page).to_have_url(f"{site.url}/review/2")
    open_image(page, site, 1)
    page.context.set_offline(True)
    press(page, "u")
    expect(page.locator("#hint")).to_contain_text("Nightread cannot be reached. Nothing was changed")
    press(page, "a")
    page.keyboard.type("looked again")
    press(page, "Escape")
    press(page, "2")
    press(page, "a")
    press(page, "Control+Enter")
    expect(page.locator("#unsent")).to_contain_text("Not sent yet: no signs, image 1.")
    page.context.set_offline(False)
    expect(page.locator(".message.reading")).to_contain_text("Changed: no signs")
    expect(page).to_have_url(f"{site.url}/review/1")
    assert [row[2] for row in readings(site)] == ["signs_of_pneumonia", "no_signs"]


def end_sessions(site: Site) -> None:
    with site.ledger.transaction() as session:
        session.execute(update(BrowserSession).values(ended_at=ledger_time(session)))


def test_expired_session_asks_to_sign_in_and_sends_for_the_same_reader_only(
    site: Site, open_page: OpenPage
) -> None:
    page = open_page(expected=(*OFFLINE, "401"))
    sign_in(page, site)
    open_image(page, site, 1, "left base")
    end_sessions(site)
    press(page, "1")
    # The strip leads an open page to the page for signing in by itself, too.
    expect(page.locator("#unsent")).to_contain_text(
        re.compile("You are signed out. Sign in as Ada Night|1 reading by Ada Night is not sent")
    )
    expect(page).to_have_url(re.compile(r"/sign-in\?next=%?/?.*review"))
    waiting = page.locator("#unsent")
    expect(waiting).to_contain_text("1 reading by Ada Night is not sent.")
    expect(waiting).not_to_contain_text("left base")
    expect(waiting).not_to_contain_text("pneumonia")

    sign_in(page, site, "Ben Day")
    expect(waiting).to_contain_text("1 reading by Ada Night is not sent. This tab keeps it.")
    expect(page.locator("main")).not_to_contain_text("left base")
    page.goto(f"{site.url}/review/1")
    # The claim of an ended session stays until its time is over.
    expect(page.get_by_role("button", name="Take over")).to_be_visible()
    expect(page.locator("main")).not_to_contain_text("left base")
    expect(page.locator("[aria-pressed=true]")).to_have_count(0)
    page.goto(f"{site.url}/runs")
    assert readings(site) == []

    sign_in(page, site)
    expect(page.locator(".message.reading")).to_contain_text("Recorded: signs of pneumonia")
    expect(waiting).to_be_hidden()
    assert readings(site) == [(1, "Ada Night", "signs_of_pneumonia", "left base")]


def test_page_of_one_reader_records_nothing_for_another(site: Site, open_page: OpenPage) -> None:
    """Somebody else signs in in another tab, while the page is open."""
    page = open_page(expected=(*OFFLINE, "409"))
    sign_in(page, site)
    open_image(page, site, 1)
    key_of_ada = next(cookie for cookie in page.context.cookies() if cookie["name"] == COOKIE)
    other = page.context.new_page()
    sign_in(other, site, "Ben Day")
    other.close()
    press(page, "1")
    expect(page.locator("#unsent")).to_contain_text("Another person is signed in in this browser now.")
    assert readings(site) == []
    page.context.add_cookies([{"name": COOKIE, "value": key_of_ada["value"], "url": site.url}])
    page.goto(f"{site.url}/runs")
    wait_for(lambda: len(readings(site)) == 1)
    assert readings(site)[0][1] == "Ada Night"


def test_signing_out_with_unsent_readings_warns(site: Site, open_page: OpenPage) -> None:
    page = open_page(expected=OFFLINE)
    sign_in(page, site)
    open_image(page, site, 1)
    page.route("**/decide*", lambda route: route.abort())
    press(page, "1")
    expect(page.locator("#unsent")).to_contain_text("Not sent yet")
    page.get_by_role("button", name="Sign out").click()
    dialog = page.get_by_role("dialog", name="1 reading is not recorded")
    dialog.get_by_role("button", name="Stay").click()
    expect(dialog).to_have_count(0)
    expect(page.locator("#unsent")).to_contain_text("Not sent yet")
    page.get_by_role("button", name="Sign out").click()
    dialog.get_by_role("button", name="Sign out and lose them").click()
    expect(page).to_have_url(f"{site.url}/sign-in")
    expect(page.locator("#unsent")).to_be_hidden()
    assert readings(site) == []


def test_refused_reading_is_a_sentence_and_keeps_its_words(site: Site, open_page: OpenPage) -> None:
    ada, bob = open_page(expected=("409",)), open_page()
    sign_in(ada, site, "Ada")
    sign_in(bob, site, "Bob")
    open_image(ada, site, 1, "left base")
    # Bob reads the next image.
    open_image(bob, site, 2)
    ada.evaluate("document.querySelector('[name=prediction]').value = '4711'")
    press(ada, "1")
    refused = ada.locator("#unsent")
    expect(refused).to_contain_text("Not recorded: signs of pneumonia, image 1. This image was scored again")
    ada.reload()
    expect(refused).to_contain_text("Not recorded")
    wait_until_shown(ada)
    press(ada, "1")
    expect(ada).to_have_url(f"{site.url}/review/3")
    assert readings(site) == [(1, "Ada", "signs_of_pneumonia", "left base")]
