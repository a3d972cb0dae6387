"""The workbench of thresholds in the browser: figures follow the sliders, and a plain form works without JavaScript."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import update

from tests.browser.serving import Site, sign_in
from tests.browser.test_accessibility import problems
from tests.filling import known_reader, make_patients
from worker.ledger import review
from worker.ledger.findings import Finding, Statement
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.states import ReviewState
from worker.ledger.tables import Image

pytestmark = pytest.mark.browser


@pytest.fixture
def read_site(site: Site) -> Site:
    """Five images, of which 1 to 4 have signs; the fifth is clear, was drawn, and has none."""
    make_patients(site.ledger)
    with site.ledger.transaction() as session:
        drawn = {"review_state": ReviewState.DRAWN, "drawn_rank": 0.5}
        session.execute(update(Image).where(Image.id == 5).values(**drawn))
    reader_id = known_reader(site.ledger, "Ben")
    for image_id in range(1, 6):
        said = Statement(Finding.SIGNS if image_id < 5 else Finding.NO_SIGNS)
        with site.ledger.transaction() as session:
            review.decide(session, image_id, reader_id=reader_id, statement=said, at=ledger_time(session))
    return site


def test_figures_follow_a_slider_without_a_new_page(read_site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    sign_in(page, read_site, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{read_site.url}/thresholds")
    page.get_by_role("link", name="Workbench").click()
    expect(page.locator("#site-sensitivity-value")).to_have_text("100.0 %")
    page.evaluate("document.body.dataset.same = 'yes'")
    ring = page.locator("#marker-site")
    before = ring.get_attribute("cy")
    page.get_by_role("slider", name="Threshold of the figures").fill("0.8")
    expect(page.locator("#site-sensitivity-value")).to_have_text("50.0 %")
    expect(page.locator("input[name=threshold]").first).to_have_value("0.8")
    expect(page.get_by_role("slider", name="Flagged from")).to_have_value("0.8")
    expect(page.locator(".in-force input[name=band_high]")).to_have_value("0.8")
    assert ring.get_attribute("cy") != before
    assert "threshold=0.8" in page.url
    assert page.evaluate("document.body.dataset.same") == "yes"
    page.get_by_label("Images a night").fill("400")
    page.get_by_label("Seconds an image").fill("9")
    expect(page.locator("#site-images_to_read-value")).to_have_text("324")
    expect(page.locator("#site-reading_s-value")).to_have_text("49 min")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV of the figures").click()
    assert ",0.8," in download.value.path().read_text()
    page.get_by_label("Name of this point").fill("ours")
    page.get_by_role("button", name="See what it would change").click()
    expect(page.get_by_role("button", name="Put ours in force")).to_be_visible()


def test_number_typed_while_an_answer_is_on_its_way_stays(
    read_site: Site, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    sign_in(page, read_site)
    page.goto(f"{read_site.url}/thresholds/workbench")
    expect(page.locator("#site-sensitivity-value")).to_have_text("100.0 %")
    # The page waits a moment after each change. Here, that moment ends when the test says so.
    page.evaluate("window.setTimeout = (act) => { window.afterTheMoment = act; return 0; }")
    answer = page.evaluate(
        "fetch(document.getElementById('bench').dataset.figures).then((answer) => answer.json())"
    )
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/figures?*", hold)
    page.get_by_label("Images a night").fill("400")
    with page.expect_request("**/figures?*"):
        page.evaluate("void window.afterTheMoment()")
    page.get_by_label("Seconds an image").fill("9")
    # The answer to the first number comes now. It is put in place, or dropped.
    held.pop().fulfill(json=answer)
    page.unroute("**/figures?*")
    page.evaluate("fetch(location.href).then((answer) => answer.text())")
    expect(page.get_by_label("Seconds an image")).to_have_value("9")
    page.evaluate("void window.afterTheMoment()")
    expect(page.locator("#site-reading_s-value")).not_to_have_text("not known")


def test_wrong_number_is_a_sentence_and_keeps_the_figures(
    read_site: Site, open_page: Callable[..., Page]
) -> None:
    page = open_page(expected=("400 (BAD REQUEST)",))
    sign_in(page, read_site)
    page.goto(f"{read_site.url}/thresholds/workbench")
    field = page.locator("#bench input[name=prevalence]")
    field.fill("700")
    expect(page.locator("#bench-message")).to_have_text("The prevalence must be a percentage from 0 to 100.")
    expect(page.locator("#site-sensitivity-value")).to_have_text("100.0 %")
    field.fill("7")
    expect(page.locator("#bench-message")).to_be_hidden()


def test_plain_form_works_without_scripts(read_site: Site, open_page: Callable[..., Page]) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, read_site)
    page.goto(f"{read_site.url}/thresholds/workbench")
    expect(page.locator("#bench input[type=range]").first).to_be_hidden()
    page.locator("#bench input[name=threshold]").fill("0.8")
    page.locator("#bench input[name=band_high]").fill("0.9")
    page.get_by_role("button", name="Show the figures").click()
    expect(page.locator("#site-sensitivity-value")).to_have_text("50.0 %")


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_read_cases_have_no_barriers(read_site: Site, open_page: Callable[..., Page], theme: str) -> None:
    page = open_page(color_scheme=theme)
    sign_in(page, read_site)
    page.goto(f"{read_site.url}/thresholds/workbench")
    expect(page.locator("#marker-site")).to_be_visible()
    assert problems(page) == []
