"""The X-ray image in the viewer: map, window, zoom, rotation and lengths, by key, mouse and touch."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.browser.serving import Site, press, sign_in, wait_until_shown

pytestmark = pytest.mark.browser

OpenPage = Callable[..., Page]
# Phantoms of this site are 640 pixels wide.
WIDTH = 640
_CANVAS = """canvas => {
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}"""
_PICTURE = """picture => {
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [picture.naturalWidth, picture.naturalHeight];
    const context = canvas.getContext("2d");
    context.drawImage(picture, 0, 0);
    const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
    return Array.from({ length: data.length / 4 }, (_, i) => data[4 * i]);
}"""
_TOUCH = """(stage, [type, points]) => {
    const box = stage.getBoundingClientRect();
    const touches = points.map(([x, y], identifier) =>
        new Touch({ identifier, target: stage, clientX: box.left + x, clientY: box.top + y }));
    stage.dispatchEvent(new TouchEvent(type, { touches, cancelable: true, bubbles: true }));
}"""


@pytest.fixture
def viewer(site: Site, open_page: OpenPage) -> Page:
    """The first image, in the viewer of a signed-in reader."""
    page = open_page()
    sign_in(page, site)
    show(page, site, 1)
    return page


def show(page: Page, site: Site, image_id: int) -> None:
    page.goto(f"{site.url}/review/{image_id}")
    wait_until_shown(page)
    expect(page.locator("#preset")).to_be_enabled()


def drag(page: Page, start: tuple[int, int], by: tuple[int, int], button: str = "left") -> None:
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    x, y = stage["x"] + start[0], stage["y"] + start[1]
    page.mouse.move(x, y)
    page.mouse.down(button=button)  # type: ignore[arg-type]
    page.mouse.move(x + by[0], y + by[1])
    page.mouse.up(button=button)  # type: ignore[arg-type]


def box(page: Page, element: str) -> np.ndarray:
    found = page.locator(element).bounding_box()
    assert found is not None
    return np.array([found["x"], found["y"], found["width"], found["height"]], float)


def expect_window(page: Page, darkest: float, brightest: float) -> None:
    """Wait for the canvas, and compare it with the picture by this window."""
    expect(page.locator("#values")).to_be_visible()
    picture = np.array(page.locator("#picture").evaluate(_PICTURE))
    shown = np.array(page.locator("#values").evaluate(_CANVAS))
    expected = 255 * np.clip((picture - darkest) / (brightest - darkest), 0, 1)
    assert np.abs(shown - expected).max() <= 1


def window(page: Page) -> tuple[float, float]:
    """Return the darkest and the brightest value."""
    level, width = (float(page.locator(f"#{name}").input_value()) for name in ("level", "width"))
    return level - width / 2, level + width / 2


def test_m_shows_and_hides_the_activation_map(viewer: Page) -> None:
    expect(viewer.locator("#map")).to_be_hidden()
    expect(viewer.locator("#map-caption")).to_be_hidden()
    press(viewer, "m")
    expect(viewer.locator("#map")).to_have_css("opacity", "1")
    expect(viewer.locator("#map-caption")).to_contain_text("It does not show where disease is.")
    assert (box(viewer, "#map") == box(viewer, "#picture")).all()
    press(viewer, "m")
    expect(viewer.locator("#map")).to_be_hidden()


def test_map_is_fetched_when_it_is_asked_for(site: Site, open_page: OpenPage) -> None:
    page = open_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    sign_in(page, site)
    show(page, site, 1)
    page.wait_for_load_state("networkidle")
    assert not [url for url in asked if "map.png" in url]
    with page.expect_response(re.compile(r"map\.png")):
        press(page, "m")


def test_showing_the_map_does_not_move_the_image(viewer: Page) -> None:
    before = box(viewer, "#picture")
    press(viewer, "m")
    expect(viewer.locator("#map")).to_be_visible()
    assert (box(viewer, "#picture") == before).all()


def test_presets_are_windows_over_the_values_of_the_picture(viewer: Page) -> None:
    expect(viewer.locator("#values")).to_be_hidden()
    for key, darkest, brightest, said in (("8", 0, 153, "77 / 153"), ("9", 102, 255, "179 / 153")):
        press(viewer, key)
        expect(viewer.locator("#window-shown")).to_contain_text(said)
        viewer.evaluate("() => new Promise(requestAnimationFrame)")
        expect_window(viewer, darkest, brightest)
    press(viewer, "7")
    expect(viewer.locator("#values")).to_be_hidden()
    expect(viewer.locator("#window-shown")).to_be_empty()


def test_drag_changes_the_window_gently(viewer: Page) -> None:
    drag(viewer, (200, 200), (120, -60))
    darkest, brightest = window(viewer)
    assert brightest - darkest == pytest.approx(255 * 0.88)
    # The mediastinum keeps its shades: the brightest fifth of the values is not all white.
    assert 215 < brightest < 230
    expect_window(viewer, darkest, brightest)


def test_zoomed_image_moves_by_drag_and_its_window_changes_by_the_right_button(viewer: Page) -> None:
    press(viewer, "+")
    before, window_before = box(viewer, "#picture"), window(viewer)
    drag(viewer, (200, 200), (-20, -30))
    assert (box(viewer, "#picture") - before)[:2] == pytest.approx([-20, -30], abs=1)
    assert window(viewer) == window_before
    moved = box(viewer, "#picture")
    drag(viewer, (200, 200), (-20, -30), button="right")
    assert (box(viewer, "#picture") == moved).all()
    assert window(viewer) != window_before


def test_window_inversion_and_opacity_stay_until_reset(site: Site, viewer: Page) -> None:
    drag(viewer, (200, 200), (60, -40))
    chosen = window(viewer)
    press(viewer, "i")
    press(viewer, "m")
    viewer.locator("#opacity").fill("40")
    show(viewer, site, 2)
    assert window(viewer) == pytest.approx(chosen)
    expect_window(viewer, *chosen)
    expect(viewer.locator("#window-shown")).to_contain_text("set by you")
    expect(viewer.locator("#picture")).to_have_css("filter", "invert(1)")
    # The map is off on each image until the reader asks for it.
    expect(viewer.locator("#map")).to_be_hidden()
    press(viewer, "m")
    expect(viewer.locator("#map")).to_have_css("opacity", "0.4")
    press(viewer, "r")
    expect(viewer.locator("#values")).to_be_hidden()
    expect(viewer.locator("#picture")).to_have_css("filter", "none")
    show(viewer, site, 3)
    expect(viewer.locator("#values")).to_be_hidden()
    expect(viewer.locator("#picture")).to_have_css("filter", "none")
    assert window(viewer) == (0, 255)


def test_wheel_zooms_at_the_pointer(viewer: Page) -> None:
    stage, before = box(viewer, "#stage"), box(viewer, "#sheet")
    x, y = (stage[:2] + 200).tolist()
    viewer.mouse.move(x, y)
    viewer.mouse.wheel(0, -400)
    expect(viewer.locator("#zoom")).not_to_have_text("fit")
    after = box(viewer, "#sheet")
    assert (np.array([x, y]) - after[:2]) / after[2:] == pytest.approx(
        (np.array([x, y]) - before[:2]) / before[2:], abs=1e-3
    )


def test_one_to_one_and_fit(viewer: Page) -> None:
    press(viewer, "x")
    expect(viewer.locator("#zoom")).to_have_text("100 %")
    stage, sheet = box(viewer, "#stage"), box(viewer, "#sheet")
    # The image is smaller than the stage, so it is in the middle.
    assert sheet[0] + sheet[2] / 2 == pytest.approx(stage[0] + stage[2] / 2, abs=1)
    bar, text = box(viewer, ".ruler-bar"), viewer.locator("#ruler-text").inner_text()
    assert text == f"{bar[2]:.0f} px"
    press(viewer, "w")
    expect(viewer.locator("#zoom")).to_have_text("fit")
    assert (box(viewer, "#sheet") == stage).all()


def test_arrow_keys_move_a_zoomed_image(viewer: Page) -> None:
    for _ in range(3):
        press(viewer, "+")
    before = box(viewer, "#picture")
    press(viewer, "ArrowRight")
    press(viewer, "ArrowDown")
    assert (box(viewer, "#picture") - before)[:2] == pytest.approx([-60, -60], abs=1)
    viewer.locator("#level").focus()
    moved, level = box(viewer, "#picture"), viewer.locator("#level").input_value()
    viewer.keyboard.press("ArrowRight")
    assert (box(viewer, "#picture") == moved).all()
    assert viewer.locator("#level").input_value() != level


def test_turned_image_still_fits(viewer: Page) -> None:
    stage = box(viewer, "#stage")
    for turn in (1, 2, 3, 0):
        press(viewer, "t")
        expect(viewer.locator("#sheet")).to_have_attribute("data-turn", str(turn))
        assert box(viewer, "#picture") == pytest.approx(stage, abs=1)
    press(viewer, "t")
    press(viewer, "r")
    expect(viewer.locator("#sheet")).to_have_attribute("data-turn", "0")


def test_line_is_measured_in_pixels_of_the_original(viewer: Page) -> None:
    press(viewer, "x")
    press(viewer, "l")
    drag(viewer, (200, 200), (30, 40))
    expect(viewer.locator("#measured-length")).to_have_text("50 px")
    assert window(viewer) == (0, 255)
    press(viewer, "+")
    expect(viewer.locator("#measured-length")).to_be_hidden()
    drag(viewer, (200, 200), (30, 40))
    expect(viewer.locator("#measured-length")).to_have_text("40 px")
    press(viewer, "l")
    expect(viewer.locator("#measured-length")).to_be_hidden()


def test_two_fingers_zoom_and_move(site: Site, open_page: OpenPage) -> None:
    page = open_page(viewport={"width": 820, "height": 1180}, has_touch=True)
    sign_in(page, site)
    show(page, site, 1)
    stage = page.locator("#stage")
    before = box(page, "#sheet")
    for type_, points in (
        ("touchstart", [(200, 200), (300, 200)]),
        ("touchmove", [(150, 210), (350, 210)]),
        ("touchend", []),
    ):
        stage.evaluate(_TOUCH, [type_, points])
    after = box(page, "#sheet")
    assert after[2] / before[2] == pytest.approx(2, abs=0.01)
    # The point between the fingers, (250, 210), stays there. An image that fits the stage cannot be moved.
    assert after[:2] - before[:2] == pytest.approx([-250, -210], abs=1)


def test_tools_of_a_phone_unfold(site: Site, open_page: OpenPage) -> None:
    page = open_page(viewport={"width": 390, "height": 844}, has_touch=True)
    sign_in(page, site)
    show(page, site, 1)
    expect(page.locator("#preset")).to_be_hidden()
    page.get_by_role("button", name="Tools").click()
    page.locator("#preset").select_option("lungs")
    expect_window(page, 0, 153)
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
