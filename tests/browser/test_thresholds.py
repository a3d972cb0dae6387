"""The page of the thresholds in the browser, without JavaScript: a new point is tried, and then put in force."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, sign_in
from tests.filling import assert_consistent, follow, give_age, image
from worker.ledger import thresholds
from worker.ledger.models import active_model
from worker.ledger.point_groups import Group
from worker.ledger.protocols import Protocol
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time

pytestmark = pytest.mark.browser


def test_administrator_tries_a_point_and_puts_it_in_force(site: Site, open_page: Callable[..., Page]) -> None:
    """Of five unread images, the new point flags number 4 and makes number 5 uncertain."""
    follow(site.ledger, Protocol(sample_share=0))
    page = open_page(java_script_enabled=False)
    sign_in(page, site, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{site.url}/people")
    page.get_by_role("link", name="Thresholds").click()
    expect(page.locator("#in-force")).to_contain_text("In force: balanced")
    page.locator("select[name=point]").select_option(":new")
    page.locator("input[name=name]").fill("ours")
    page.locator("input[name=band_high]").fill("0.5")
    page.locator("input[name=threshold]").fill("0.4")
    page.locator("input[name=band_low]").fill("0.1")
    page.get_by_role("button", name="See what would change").click()
    expect(page.get_by_text("Of 5 unread images, 2 would get another verdict.")).to_be_visible()
    expect(page.locator("#in-force")).to_contain_text("In force: balanced")
    page.get_by_label("Give these unread images the new verdicts").check()
    page.get_by_label("Reason for the change").fill("two cases were missed")
    page.get_by_role("button", name="Put ours in force").click()
    expect(page.get_by_text("2 of 5 unread images have another verdict.")).to_be_visible()
    expect(page.locator("#in-force")).to_contain_text("In force: ours")
    expect(page.locator("#in-force")).to_contain_text("two cases were missed")
    assert (image(site.ledger, 4).verdict, image(site.ledger, 5).verdict) == ("flagged", "uncertain")
    assert_consistent(site.ledger)


def test_group_of_ages_gets_a_point_and_a_wrong_number_loses_no_word(
    site: Site, open_page: Callable[..., Page]
) -> None:
    follow(site.ledger, Protocol(sample_share=0))
    give_age(site.ledger, 5, 44)
    page = open_page(expected=("400 (BAD REQUEST)",), java_script_enabled=False)
    sign_in(page, site, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{site.url}/thresholds")
    page.get_by_label("For which images").select_option("age")
    page.locator("input[name=age_from]").fill("18")
    page.locator("input[name=age_to]").fill("64")
    page.locator("select[name=point]").select_option(":new")
    page.locator("input[name=name]").fill("ours")
    page.locator("input[name=band_high]").fill("0.5")
    page.locator("input[name=threshold]").fill("0.4")
    page.locator("input[name=band_low]").fill("0.1")
    page.get_by_role("button", name="See what would change").click()
    expect(page.get_by_text("Of 1 unread images, 1 would get another verdict.")).to_be_visible()
    page.get_by_label("Give these unread images the new verdicts").check()
    page.get_by_label("Reason for the change").fill("x" * 1000)
    page.locator("input[name=why]").evaluate("field => { field.maxLength = 2000; field.value += 'yz' }")
    page.get_by_role("button", name="Put ours in force for the ages 18 to 64").click()
    expect(page.get_by_text("too long: the limit is 1,000 characters")).to_be_visible()
    assert page.get_by_label("Reason").input_value() == "x" * 1000 + "yz"
    page.get_by_label("Reason").fill("two cases were missed")
    page.get_by_role("button", name="Send again").click()
    expect(page.get_by_text("1 of 1 unread images have another verdict.")).to_be_visible()
    expect(page.locator("table", has_text="ages 18 to 64").first).to_contain_text("two cases were missed")
    assert (image(site.ledger, 4).verdict, image(site.ledger, 5).verdict) == ("uncertain", "uncertain")
    page.goto(f"{site.url}/review/5")
    expect(page.locator("#point-note")).to_contain_text("ours, which is for the ages 18 to 64")
    assert_consistent(site.ledger)


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_points_of_groups_and_the_kept_form_have_no_barriers(
    site: Site, open_page: Callable[..., Page], width: int, theme: str
) -> None:
    with site.ledger.transaction() as session:
        model = active_model(session)
        assert model
        point, at = thresholds.find(session, model, "screen"), ledger_time(session)
        thresholds.change(session, model, point, who="os:0", why="a test", at=at, group=Group(18, 64))
    page = open_page(
        bypass_csp=True, expected=("400 (BAD REQUEST)",), viewport={"width": width, "height": 800}
    )
    page.context.add_cookies([{"name": "nightread_theme", "value": theme, "url": site.url}])
    sign_in(page, site, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{site.url}/thresholds?point=screen&for=age&age_from=18&age_to=64")
    expect(page.locator("#groups")).to_be_visible()
    assert Axe().run(page).response["violations"] == []
    page.get_by_label("Reason for the change").fill("once more")
    page.get_by_role("button", name="Put screen in force for the ages 18 to 64").click()
    expect(page.get_by_text("screen is already in force for ages 18 to 64")).to_be_visible()
    expect(page.get_by_label("Reason")).to_have_value("once more")
    assert Axe().run(page).response["violations"] == []
    across = page.evaluate("document.documentElement.scrollWidth")
    assert across <= width
