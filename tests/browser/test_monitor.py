"""The page of the monitor in the browser, with a year of counts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from bench.synthetic_monitor import fill_monitor
from tests.browser.serving import Site, sign_in
from tests.browser.test_accessibility import problems
from tests.browser.test_layout import faults_on_every_screen
from tests.filling import known_reader
from tests.monitored import yesterday
from worker.ledger import monitoring
from worker.ledger.models import active_model
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time

pytestmark = pytest.mark.browser

ADDRESSES = (
    "/monitor",
    "/monitor?by=machine&period=month",
    "/monitor?by=source&group=dicom+CT_WARD_2&period=day",
    "/monitor?by=reader&group=2",
)
ALERT = {
    "dimension": "machine",
    "group": "Siemens DX",
    "figure": "flagged",
    "since": "2026-11-10",
    "found": "2026-11-12",
    "sentence": "The share of flagged images rose about 2026-11-10 (machine Siemens DX): 11.2% before, 17.9% since.",
    "sure": "Chance alone would show such a change less than once in 100 years.",
    "also": [["age", "1-5"]],
    "attention": True,
}


@pytest.fixture
def monitored(site: Site) -> Site:
    """The site with a year of the monitor, and a change that needs attention."""
    for name in ("Ada Night", "Ben Day", "Chen Noon"):
        known_reader(site.ledger, name)
    last = yesterday(site.ledger)
    with site.ledger.transaction() as session:
        model = active_model(session)
        assert model is not None
        fill_monitor(session, last, 60, [model.id])
        alerts = [ALERT, ALERT | {"attention": False}]
        monitoring.keep_found(session, last, alerts, ledger_time(session))
    return site


def test_groups_are_chosen_without_javascript(monitored: Site, open_page: Callable[..., Page]) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, monitored, roles=tuple(Role))
    page.goto(f"{monitored.url}/models")
    page.get_by_role("link", name="Monitor").click()
    expect(page.locator(".alerts")).to_contain_text("The share of flagged images rose")
    expect(page.get_by_role("img", name="Sensitivity by period")).to_be_visible()
    page.locator("select[name=period]").select_option("day")
    page.locator("select[name=by]").select_option("machine")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#table-of-groups tbody tr")).to_have_count(4)
    page.get_by_role("link", name="Siemens DX").click()
    expect(page.locator("#extent")).to_contain_text("Images with machine Siemens DX")
    expect(page.locator("#table-of-scores tbody tr")).to_have_count(28)
    page.locator("select[name=group]").select_option("")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("#extent")).to_contain_text("All images that")


def test_each_table_is_a_file(monitored: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    sign_in(page, monitored, roles=tuple(Role))
    page.goto(f"{monitored.url}/monitor?by=sex")
    links = page.get_by_role("link", name="CSV")
    expect(links).to_have_count(5)
    names = set()
    for number in range(links.count()):
        with page.expect_download() as download:
            links.nth(number).click()
        names.add(download.value.suggested_filename)
    tables = ("groups", "periods", "rejected", "calibration")
    assert names == {f"nightread-monitor-{table}.csv" for table in tables}


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_monitor_has_no_barriers(
    monitored: Site, open_page: Callable[..., Page], width: int, theme: str
) -> None:
    page = open_page(viewport={"width": width, "height": 800}, bypass_csp=True)
    page.context.add_cookies([{"name": "nightread_theme", "value": theme, "url": monitored.url}])
    sign_in(page, monitored, roles=tuple(Role))
    found = {}
    for address in ADDRESSES:
        page.goto(f"{monitored.url}{address}")
        page.get_by_text("Earlier changes: 1").click()
        found[address] = problems(page)
    assert {address: barriers for address, barriers in found.items() if barriers} == {}


def test_monitor_fits_every_screen(monitored: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    sign_in(page, monitored, roles=tuple(Role))
    found: list[str] = []
    for address in ADDRESSES:
        page.goto(f"{monitored.url}{address}")
        found += faults_on_every_screen(page, address)
    assert found == [], "\n".join(found)
