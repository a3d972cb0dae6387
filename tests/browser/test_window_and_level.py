"""Window, level and ruler in a browser, for images with more than 8 bits."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown
from tests.dicom_objects import as_file, grey_object, phantom_values
from worker.ledger.tables import Image
from worker.store import Area, open_store

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
VALUES = phantom_values(width=240)
WINDOW: dict[str, Any] = {"WindowCenter": [2000, 900], "WindowWidth": [3000, 100]}
DETECTOR = {"ImagerPixelSpacing": [0.2, 0.2]}
DEFAULT_TEXT = "Window 2000 / 3000 (level / width), 1 of 2."
_CANVAS_PIXELS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return [canvas.width, ...Array.from({ length: data.length / 4 }, (_, i) => data[4 * i])];
}"""


@pytest.fixture
def open_object(site: Site, open_page: OpenPage) -> Callable[..., Page]:
    """A function that shows a DICOM object in the place of the first image."""

    def opened(scripts: bool = True, **elements: Any) -> Page:
        data = as_file(grey_object(VALUES, **{**WINDOW, **elements}))
        sha256 = hashlib.sha256(data).hexdigest()
        open_store(site.night.settings).put(io.BytesIO(data), sha256, Area.IMAGES)
        with site.night.ledger.transaction() as session:
            image = session.get_one(Image, 1)
            image.sha256, image.format = sha256, "dicom"
            image.height, image.width = VALUES.shape
        page = open_page(java_script_enabled=scripts)
        sign_in(page, site)
        page.goto(f"{site.url}/review/1")
        if scripts:
            wait_until_shown(page)
            expect(page.locator("#level")).to_be_enabled()
        return page

    return opened


def drag(page: Page, across: int, down: int) -> None:
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    page.mouse.move(stage["x"] + 300, stage["y"] + 300)
    page.mouse.down()
    page.mouse.move(stage["x"] + 300 + across, stage["y"] + 300 + down)
    page.mouse.up()


def slider(page: Page, name: str) -> float:
    return float(page.locator(f"#{name}").input_value())


def shown(page: Page) -> np.ndarray:
    """Return the grey values that the canvas shows, once it does."""
    expect(page.locator("#values")).to_be_visible()
    width, *grey = page.locator("#values").evaluate(_CANVAS_PIXELS)
    return np.asarray(grey).reshape(-1, width)


def expected(page: Page, *, inverted: bool = False) -> np.ndarray:
    share = np.clip((VALUES - slider(page, "level")) / slider(page, "width") + 0.5, 0, 1)
    grey: np.ndarray = 255 * (1 - share if inverted else share)
    return grey


def test_object_is_shown_by_its_own_window(open_object: Callable[..., Page]) -> None:
    page = open_object()
    expect(page.locator("#window-shown")).to_have_text(DEFAULT_TEXT)
    expect(page.locator("#values")).to_be_hidden()
    assert (slider(page, "level"), slider(page, "width")) == pytest.approx((1999.5, 2999))


@pytest.mark.parametrize("photometric", ["MONOCHROME2", "MONOCHROME1"])
def test_drag_changes_window_and_level_over_all_values(
    open_object: Callable[..., Page], photometric: str
) -> None:
    inverted = photometric == "MONOCHROME1"
    page = open_object(PhotometricInterpretation=photometric)
    drag(page, 60, -40)
    assert np.abs(shown(page) - expected(page, inverted=inverted)).max() <= 1
    expect(page.locator("#window-shown")).to_have_text(re.compile(r"Window \d+ / \d+ .*set by you"))
    assert slider(page, "width") < 2999
    # Up is brighter.
    assert (slider(page, "level") < 1999) == (not inverted)


def test_narrow_window_shows_what_eight_bits_would_hide(open_object: Callable[..., Page]) -> None:
    page = open_object()
    page.locator("#width").fill("16")
    values = shown(page)
    inside = np.abs(VALUES - slider(page, "level")) < 8
    assert len(np.unique(values[inside])) >= 14


def test_r_brings_the_own_window_back(open_object: Callable[..., Page]) -> None:
    page = open_object()
    drag(page, 60, -40)
    expect(page.locator("#values")).to_be_visible()
    press(page, "r")
    expect(page.locator("#values")).to_be_hidden()
    expect(page.locator("#window-shown")).to_have_text(DEFAULT_TEXT)
    assert slider(page, "width") == pytest.approx(2999)


def test_level_and_window_work_by_keyboard(open_object: Callable[..., Page]) -> None:
    page = open_object()
    before = slider(page, "level")
    page.get_by_label("Level").focus()
    page.keyboard.press("ArrowRight")
    assert slider(page, "level") > before
    expect(page.locator("#values")).to_be_visible()
    press(page, "i")
    assert "invert(1)" in page.locator("#values").evaluate("canvas => getComputedStyle(canvas).filter")


def test_ruler_is_as_long_as_it_says(open_object: Callable[..., Page]) -> None:
    page = open_object(**DETECTOR)
    expect(page.locator("#ruler-text")).to_have_text(re.compile(r"^\d+ mm, at the detector$"))
    picture, lengths = page.locator("#picture").bounding_box(), []
    assert picture is not None
    for _ in range(2):
        millimetres = int(page.locator("#ruler-text").inner_text().split()[0])
        bar = page.locator(".ruler-bar").bounding_box()
        assert bar is not None
        lengths.append(bar["width"] / millimetres)
        page.locator("#zoom-in").click()
    rows, columns = VALUES.shape
    per_mm = min(picture["width"] / columns, picture["height"] / rows) / 0.2
    assert lengths == pytest.approx([per_mm, 1.25 * per_mm], rel=0.02)


def test_ruler_of_a_picture_without_spacing_counts_pixels(open_object: Callable[..., Page]) -> None:
    page = open_object()
    expect(page.locator("#ruler-text")).to_have_text(re.compile(r"^\d+ px$"))


def test_values_that_cannot_be_loaded_change_nothing(open_object: Callable[..., Page]) -> None:
    page = open_object()
    page.route("**/values.png*", lambda route: route.fulfill(status=200, body="not a picture"))
    drag(page, 60, -40)
    expect(page.locator("#window-shown")).to_contain_text("cannot be loaded")
    expect(page.locator("#values")).to_be_hidden()


def test_own_window_is_shown_without_scripts(open_object: Callable[..., Page]) -> None:
    page = open_object(scripts=False)
    assert (
        page.locator("#picture").evaluate("picture => picture.decode().then(() => picture.naturalWidth)")
        == 240
    )
    expect(page.locator("#level")).to_be_hidden()
