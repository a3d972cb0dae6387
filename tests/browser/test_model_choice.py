"""The page Models in the browser, without JavaScript: a model is tried, compared, made active, and the former one again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, sign_in
from tests.filling import make_patients
from tests.integration.webui.night import MODEL_SHA256
from tests.model_sites import CANDIDATE, bundle_of, candidate_bundle, read_images, run_worker, shadow_scores
from worker.ledger.comparison import compare
from worker.ledger.findings import Finding
from worker.ledger.roles import Role

pytestmark = pytest.mark.browser


# Of the candidate: it clears image 3, which has no signs, and finds image 5, which was drawn from the clear ones.
SCORES = {1: 0.9, 2: 0.9, 3: 0.1, 4: 0.9, 5: 0.9}


def fill_site(site: Site) -> None:
    """Have a person read all images, and a worker with two models that differ on two of them."""
    make_patients(site.ledger)
    run_worker(site.ledger, bundle_of(site.ledger, MODEL_SHA256), candidate_bundle())
    signs = dict.fromkeys((1, 2, 5), Finding.SIGNS)
    none = dict.fromkeys((3, 4), Finding.NO_SIGNS)
    read_images(site.ledger, signs | none, drawn=[5])


def test_model_is_tried_compared_and_made_active_and_back(
    site: Site, open_page: Callable[..., Page], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.report.model_comparison.SMALLEST", 5)
    fill_site(site)
    page = open_page(java_script_enabled=False)
    sign_in(page, site, "Eve", [Role.ADMINISTRATOR, Role.READER])
    page.goto(f"{site.url}/models")
    expect(page.locator("#activation")).to_contain_text("Nobody has made a model active here")
    page.get_by_role("link", name="nightread 0.3.0").click()
    page.locator("form", has_text="Try it in the background").get_by_label("Reason").fill("a trial")
    page.get_by_role("button", name="Try it in the background").click()
    expect(page.locator("#candidate")).to_contain_text("a trial")
    shadow_scores(site.ledger, SCORES)
    page.get_by_role("link", name="Compare two models").click()
    page.get_by_label("Second model (b)").select_option(CANDIDATE)
    page.get_by_role("button", name="Compare").click()
    expect(page.locator("#sensitivity")).to_contain_text("100.0 %")
    page.get_by_role("link", name="Image 5").click()
    expect(page).to_have_url(f"{site.url}/review/5")
    page.goto(f"{site.url}/models/{CANDIDATE}")
    page.locator("form", has_text="Make it active").get_by_label("Reason").fill("it finds more")
    page.get_by_role("button", name="Make it active").click()
    expect(page.locator("#activation")).to_contain_text("nightread 0.3.0 is active since")
    expect(page.locator("#activation")).to_contain_text("set by Eve: it finds more")
    page.goto(f"{site.url}/models/{MODEL_SHA256}")
    page.get_by_label("Reason for the change").fill("more false alarms")
    page.get_by_role("button", name="Make it active").click()
    expect(page.locator("#activation")).to_contain_text("more false alarms")
    page.get_by_text("Back to the model of each worker's setting").click()
    page.get_by_label("Reason for going back").fill("the trial is over")
    page.get_by_role("button", name="Let the setting decide").click()
    expect(page.locator("#activation")).to_contain_text("the model of its setting NIGHTREAD_MODEL, since")
    expect(page.locator("#activation")).to_contain_text("the trial is over")
    with site.ledger.reading() as session:
        found = compare(session).mismatches
    # The test itself said that these phantoms are patients, and which image was drawn.
    assert [one for one in found if one.what not in {"phantom", "drawn_rank"}] == []


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (1280, "light")])
def test_pages_of_models_have_no_barriers(
    site: Site,
    open_page: Callable[..., Page],
    monkeypatch: pytest.MonkeyPatch,
    width: int,
    theme: str,
) -> None:
    monkeypatch.setattr("worker.report.model_comparison.SMALLEST", 5)
    fill_site(site)
    shadow_scores(site.ledger, SCORES)
    page = open_page(viewport={"width": width, "height": 800}, bypass_csp=True)
    page.context.add_cookies([{"name": "nightread_theme", "value": theme, "url": site.url}])
    sign_in(page, site, "Eve", tuple(Role))
    for address in (
        "/models",
        f"/models/{CANDIDATE}",
        f"/models/compare?a={MODEL_SHA256}&b={CANDIDATE}",
    ):
        page.goto(f"{site.url}{address}")
        page.wait_for_load_state()
        found = Axe().run(page).response["violations"]
        assert [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]] == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), address
