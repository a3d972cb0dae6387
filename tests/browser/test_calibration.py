"""The page of the calibration in the browser, without JavaScript: fitted, put in force, shown beside a score, revoked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, serving, sign_in
from tests.browser.test_accessibility import problems
from tests.browser.test_layout import faults_on_every_screen
from tests.cards import a_card
from tests.integration.webui.night import open_night
from tests.site_readings import read_site
from worker.ledger.roles import Role

pytestmark = pytest.mark.browser


@pytest.fixture
def read(tmp_path: Path) -> Iterator[Site]:
    """A site with enough readings."""
    night = open_night(tmp_path / "data")
    read_site(night.ledger, patients=True, card=a_card())
    with serving(night) as site:
        yield site
    night.ledger.close()


def test_calibration_is_fitted_and_revoked(read: Site, open_page: Callable[..., Page]) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, read, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{read.url}/models")
    page.get_by_role("link", name="Calibration").click()
    expect(page.locator("#in-force")).to_contain_text("No calibration of this model is in force")
    page.get_by_role("button", name="See what a fit gives now").click()
    expect(page.locator("#tried-held-out")).to_be_visible()
    page.get_by_label("Reason for the change").fill("the first read images")
    page.get_by_role("button", name="Put this calibration in force").click()
    expect(page.locator("#in-force")).to_contain_text("In force: calibration 1")
    page.get_by_role("link", name="see what it would change").click()
    expect(page.locator("#preview")).to_be_visible()
    expect(page.get_by_role("button", name="Put calibrated-1 in force")).to_be_visible()
    page.go_back()
    page.get_by_label("Reason for revoking").fill("another scanner")
    page.get_by_role("button", name="Revoke calibration 1").click()
    expect(page.locator("#in-force")).to_contain_text("No calibration of this model is in force")
    expect(page.locator(".history")).to_contain_text("another scanner")


def test_page_with_figures_fits_screens_and_is_accessible(read: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    sign_in(page, read, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{read.url}/thresholds/calibration?try=1")
    page.get_by_label("Reason for the change").fill("the first read images")
    page.get_by_role("button", name="Put this calibration in force").click()
    expect(page.locator("#layer-bins")).to_be_visible()
    assert problems(page) == []
    assert faults_on_every_screen(page, "calibration") == []
