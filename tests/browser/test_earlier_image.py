"""An earlier image of the same patient beside the present one: two viewports, each with its own view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.browser.test_accessibility import problems
from tests.browser.test_image_view import box
from tests.browser.test_layout import faults
from tests.filling import identify, identity
from worker.ledger.tables import AccessRecord

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
SCREENS = {"phone": (390, 844), "tablet": (820, 1180), "small desktop": (1024, 768), "desktop": (1440, 900)}


@pytest.fixture
def patient(site: Site) -> Site:
    """The site after images 1, 2 and 3 were known as those of one patient."""
    for image_id in (1, 2, 3):
        identify(site.ledger, image_id, replace(identity(image_id), laterality=None))
    return site


def open_beside(page: Page, site: Site, image_id: int = 3) -> None:
    """Open an image in the viewer, and an earlier one beside it."""
    sign_in(page, site)
    page.goto(f"{site.url}/review/{image_id}")
    wait_until_shown(page)
    press(page, "e")
    expect(page.locator("#viewport [data-tool=preset]")).to_be_enabled()


@pytest.fixture
def viewer(patient: Site, open_page: OpenPage) -> Page:
    """Image 3, and image 2 beside it."""
    page = open_page(bypass_csp=True, viewport={"width": 1440, "height": 900})
    open_beside(page, patient)
    return page


def views(site: Site) -> list[tuple[str, int | None]]:
    """Return code and image of each view on record."""
    with site.ledger.reading() as session:
        rows = session.scalars(
            select(AccessRecord).where(AccessRecord.kind == "view").order_by(AccessRecord.id)
        )
        return [(row.code, row.image_id) for row in rows]


def test_e_shows_an_earlier_image_and_the_view_is_on_record(patient: Site, open_page: OpenPage) -> None:
    page = open_page()
    sign_in(page, patient)
    page.goto(f"{patient.url}/review/3")
    wait_until_shown(page)
    assert views(patient) == [("page", 3)]
    press(page, "e")
    expect(page.get_by_role("img", name="Earlier chest X-ray 2")).to_be_visible()
    expect(page.locator("#viewport [data-tool=preset]")).to_be_enabled()
    assert views(patient) == [("page", 3), ("picture", 2)]
    page.locator("#beside-image").select_option(index=1)
    expect(page.get_by_role("img", name="Earlier chest X-ray 1")).to_be_visible()
    expect(page.locator("#viewport [data-tool=preset]")).to_be_enabled()
    assert views(patient) == [("page", 3), ("picture", 2), ("picture", 1)]
    press(page, "e")
    expect(page.locator("#beside")).to_be_hidden()


def test_server_is_asked_each_time_an_earlier_image_is_shown(viewer: Page) -> None:
    """A browser that showed it from its memory would leave no view on record."""
    press(viewer, "e")
    with viewer.expect_request("**/images/2/picture*"):
        press(viewer, "e")


def test_each_viewport_has_its_own_zoom_and_window(viewer: Page) -> None:
    present, earlier = box(viewer, "#sheet"), box(viewer, "#viewport .sheet")
    viewer.locator("#viewport .stage").focus()
    press(viewer, "+")
    press(viewer, "8")
    expect(viewer.locator("#viewport [data-tool=preset]")).to_have_value("lungs")
    expect(viewer.locator("#viewport canvas")).to_be_visible()
    assert box(viewer, "#viewport .sheet")[2] == pytest.approx(1.25 * earlier[2])
    assert (box(viewer, "#sheet") == present).all()
    expect(viewer.locator("#preset")).to_have_value("sent")
    viewer.locator("#viewport [data-tool=invert]").check()
    expect(viewer.locator("#viewport .picture").first).to_have_css("filter", "invert(1)")
    expect(viewer.locator("#picture")).to_have_css("filter", "none")
    viewer.locator("#viewport [data-tool=invert]").blur()
    earlier = box(viewer, "#viewport .sheet")
    press(viewer, "-")
    press(viewer, "9")
    expect(viewer.locator("#preset")).to_have_value("mediastinum")
    expect(viewer.locator("#viewport [data-tool=preset]")).to_have_value("lungs")
    assert (box(viewer, "#viewport .sheet") == earlier).all()


def test_linked_viewports_zoom_and_move_together(viewer: Page) -> None:
    viewer.get_by_label("Link zoom").check()
    viewer.get_by_label("Link zoom").blur()
    stage = box(viewer, "#stage")
    viewer.mouse.move(stage[0] + 50, stage[1] + 80)
    viewer.mouse.wheel(0, -400)
    expect(viewer.locator("#viewport [data-tool=zoom]")).not_to_have_text("fit")

    def shares(sheet: str, stage: str) -> np.ndarray:
        """Return place and size of a sheet as shares of its stage."""
        around = box(viewer, stage)
        return np.array((box(viewer, sheet) - np.array([*around[:2], 0, 0])) / np.tile(around[2:], 2))

    assert shares("#viewport .sheet", "#viewport .stage") == pytest.approx(
        shares("#sheet", "#stage"), abs=2e-3
    )
    viewer.locator("#viewport .stage").focus()
    press(viewer, "ArrowRight")
    assert shares("#sheet", "#stage") == pytest.approx(
        shares("#viewport .sheet", "#viewport .stage"), abs=2e-3
    )
    viewer.get_by_label("Link zoom").uncheck()
    present = box(viewer, "#sheet")
    viewer.locator("#viewport .stage").focus()
    press(viewer, "w")
    assert (box(viewer, "#sheet") == present).all()


@pytest.mark.parametrize("screen", SCREENS)
def test_both_viewports_fit_the_screen(patient: Site, open_page: OpenPage, screen: str) -> None:
    width, height = SCREENS[screen]
    touches = width < 1000
    page = open_page(bypass_csp=True, viewport={"width": width, "height": height}, has_touch=touches)
    open_beside(page, patient)
    assert faults(page, width, height) == []
    assert problems(page) == []
    present, earlier = box(page, "#stage"), box(page, "#viewport .stage")
    assert min(*present[2:], *earlier[2:]) > 150
    if width < 900:
        assert earlier[1] >= present[1] + present[3]
    else:
        assert earlier[0] >= present[0] + present[2]
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_next_image_begins_without_the_earlier_image(patient: Site, viewer: Page) -> None:
    press(viewer, "1")
    expect(viewer).to_have_url(f"{patient.url}/review/4")
    wait_until_shown(viewer)
    expect(viewer.locator("#beside")).to_have_count(0)
    press(viewer, "e")
    expect(viewer.locator("#hint")).to_contain_text("There is no earlier image of this patient")


def test_earlier_images_are_links_without_javascript(patient: Site, open_page: OpenPage) -> None:
    page = open_page(java_script_enabled=False)
    sign_in(page, patient)
    page.goto(f"{patient.url}/review/3")
    expect(page.locator("#show-beside")).to_be_hidden()
    page.locator("#earlier a").first.click()
    expect(page).to_have_url(f"{patient.url}/review/2")
