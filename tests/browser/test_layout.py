"""Every page fits every screen: nothing overflows, is cut off or breaks inside a word. axe-core sees none of this."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import update

from tests.browser.serving import Site, serving, sign_in
from tests.integration.webui.night import open_night, phantoms, scored_night
from tests.signing_in import person, session_key
from worker.ledger import heartbeats, review
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.roles import Role
from worker.ledger.session import utc_now
from worker.ledger.tables import BrowserSession

pytestmark = pytest.mark.browser

# Width and height in CSS pixels. The fourth is a screen of 1280 x 720 at 200 %.
SCREENS = ((320, 640), (390, 800), (720, 900), (640, 360), (1024, 768), (1440, 900))
PAGES = (
    "/",
    "/review",
    "/review?verdict=any&reading=any",
    "/review?verdict=clear&reading=read",
    "/review/summary",
    "/review/1",
    "/review/7",
    "/upload",
    "/upload?receipts=1-8",
    "/runs",
    "/runs/1",
    "/rejected",
    "/rescored",
    "/models",
    "/models/compare",
    "/account",
    "/account/tokens",
    "/tokens",
    "/people",
    "/protocol",
    "/thresholds?point=screen",
    "/thresholds/workbench",
    "/thresholds/calibration",
    "/agreement",
    "/monitor?by=age",
    "/erase?images=1-3",
    "/audit",
    "/nothing-here",
)
# The header may take this share of a screen, or so many pixels of a low one: two rows.
HEADER_SHARE, HEADER_PX = 0.16, 84
# Words up to this length stand on one line. Longer ones, as in file names, may have to break.
LONGEST_WORD = 14
DARK, LIGHT = "rgb(10, 12, 15)", "rgb(244, 246, 248)"
# The side of the smallest target under a finger (WCAG 2.2, 2.5.5).
FINGER_PX = 44
# A checkbox or a radio button itself, in its label, is no larger than this.
BOX_PX = 24
BROWSER = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 "
    "Safari/537.36 Edg/131.0.2903.86"
)
LONG_NAME = "Thorax_posterior-anterior_" + "0123456789" * 9 + " of the ward for children and adolescents.jpg"

# Returns a sentence for each fault of the layout.
FAULTS = """([longestWord, headerShare, headerPx, finger, largestBox]) => {
  const faults = [];
  const root = document.documentElement;
  const named = (element) => `<${element.tagName.toLowerCase()} class="${element.className?.baseVal ?? element.className}">`;
  const shown = (element) => element.checkVisibility({ visibilityProperty: true, contentVisibilityAuto: true });
  const style = (element) => getComputedStyle(element);
  const scrolls = (element) => element && (/auto|scroll/.test(style(element).overflowX) || scrolls(element.parentElement));
  if (root.scrollWidth > innerWidth) {
    faults.push(`the document is ${root.scrollWidth} px wide`);
  }
  const header = document.querySelector("header.top").getBoundingClientRect().height;
  if (header > Math.max(headerPx, headerShare * innerHeight)) {
    faults.push(`the header is ${Math.round(header)} px high`);
  }
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const range = document.createRange();
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const text = node.data.trim();
    if (!text || element.closest("script, style, noscript, .skip, svg, option, [title].one-line, [title].clamped") || !shown(element)) {
      continue;
    }
    range.selectNodeContents(node);
    const lines = [...range.getClientRects()].filter((rect) => rect.width > 0);
    if (lines.some((rect) => rect.left < -1 || rect.right > innerWidth + 1) && !scrolls(element)) {
      faults.push(`outside the screen: ${text.slice(0, 40)} in ${named(element)}`);
    }
    if (lines.length > 1 && !element.closest(".whole, code")) {
      for (const word of node.data.matchAll(/[\\p{L}\\p{N}_]+/gu)) {
        range.setStart(node, word.index);
        range.setEnd(node, word.index + word[0].length);
        const tops = new Set([...range.getClientRects()].map((rect) => Math.round(rect.top)));
        if (word[0].length <= longestWord && tops.size > 1) {
          faults.push(`broken inside a word: ${word[0]} in ${named(element)}`);
        }
      }
    }
  }
  for (const element of document.body.querySelectorAll("*")) {
    if (element.closest("svg, .stage, .skip, select, textarea, [title].one-line, [title].clamped") || !element.innerText?.trim() || !shown(element)) {
      continue;
    }
    const { overflowX, overflowY } = style(element);
    const wide = element.scrollWidth > element.clientWidth + 1 && element.clientWidth > 0;
    const high = element.scrollHeight > element.clientHeight + 1 && element.clientHeight > 0;
    if ((wide && !/auto|scroll/.test(overflowX)) || (high && /hidden|clip/.test(overflowY))) {
      faults.push(`does not fit: ${element.innerText.trim().slice(0, 40)} in ${named(element)}`);
    }
  }
  if (innerWidth < 700) {
    for (const control of document.querySelectorAll("button, select, summary, .button, input:not([type=range], [type=file], [type=hidden])")) {
      const box = control.matches("[type=checkbox], [type=radio]");
      // The label around a box is its target.
      const { width, height } = ((box && control.closest("label")) || control).getBoundingClientRect();
      if (box && shown(control) && control.getBoundingClientRect().height > largestBox) {
        faults.push(`too large for a box: ${control.name} in ${named(control.parentElement)}`);
      }
      if (shown(control) && (height < finger || width < finger)) {
        faults.push(`too small for a finger: ${Math.round(width)} x ${Math.round(height)} px, ${control.innerText || control.name} in ${named(control)}`);
      }
    }
  }
  return [...new Set(faults)];
}"""

UNFOLD = """() => {
  const folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) {
    details.open = true;
  }
  return folded.length > 0;
}"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Iterator[Site]:
    """A site with long names and a long score, a rejected and a quarantined image, an upload that waits and two troubles."""
    folder = tmp_path_factory.mktemp("house")
    night = scored_night(folder / "data", (0.99999934, 0.93, 0.71, 0.55, 0.2), phantom_folder)
    broken = folder / "broken.jpg"
    broken.write_bytes(b"")
    one, two, three = phantoms(phantom_folder, [700, 701, 702])
    night.accept(
        [one, two, broken, three], names=[LONG_NAME, "second.jpg", f"broken {LONG_NAME}", "waits.jpg"]
    )
    night.score({6: 0.66}, population="outside")
    night.quarantine(7)
    with night.ledger.transaction() as session:
        trouble = "the broker at redis://10.20.30.40:6379/0 does not answer"
        heartbeats.record_heartbeat(session, "worker", period_s=3600, at=utc_now(), trouble=trouble)
    with serving(night) as served:
        yield served
    night.ledger.close()


def name_browsers(site: Site) -> None:
    """Give every session the long name that a real browser has."""
    with site.ledger.transaction() as session:
        session.execute(update(BrowserSession).values(browser=BROWSER))


def faults(page: Page, width: int, height: int) -> list[str]:
    """Return what is wrong with the layout of the page on a screen of this size."""
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_function("width => innerWidth === width", arg=width)
    found: list[str] = page.evaluate(FAULTS, [LONGEST_WORD, HEADER_SHARE, HEADER_PX, FINGER_PX, BOX_PX])
    return found


def faults_on_every_screen(page: Page, state: str) -> list[str]:
    """Return what is wrong with the layout of the page in this state, with the screen."""
    return [
        f"{state} at {width} x {height}: {fault}"
        for width, height in SCREENS
        for fault in faults(page, width, height)
    ]


def test_every_page_fits_every_screen(house: Site, open_page: Callable[..., Page]) -> None:
    page = open_page(expected=("404",))
    page.goto(f"{house.url}/sign-in")
    found = faults_on_every_screen(page, "/sign-in")
    session_key(house.ledger, "Dr. Wilhelmina Featherstonehaugh-Cholmondeley", tuple(Role))
    sign_in(page, house, "Dr. Wilhelmina Featherstonehaugh-Cholmondeley", tuple(Role))
    name_browsers(house)
    for address in PAGES:
        page.goto(f"{house.url}{address}")
        found += faults_on_every_screen(page, address)
        if page.evaluate(UNFOLD):
            found += faults_on_every_screen(page, f"{address}, unfolded")
    assert found == [], "\n".join(found)


def test_what_opens_above_a_page_fits_every_screen(house: Site, open_page: Callable[..., Page]) -> None:
    page = open_page()
    sign_in(page, house, "Dr. Wilhelmina Featherstonehaugh-Cholmondeley", tuple(Role))
    page.goto(f"{house.url}/rejected")
    page.get_by_role("button", name="Enlarge the preview of image 8").click()
    expect(page.get_by_alt_text("Preview of image 8")).to_be_visible()
    found = faults_on_every_screen(page, "an enlarged preview")
    page.keyboard.press("Escape")
    page.set_viewport_size({"width": 320, "height": 640})
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("link", name="Audit")).to_be_visible()
    found += faults_on_every_screen(page, "the menu")
    assert found == [], "\n".join(found)


def test_empty_pages_fit_every_screen(open_page: Callable[..., Page], tmp_path: Path) -> None:
    night = open_night(tmp_path / "data")
    page = open_page()
    found: list[str] = []
    with serving(night) as site:
        sign_in(page, site, roles=tuple(Role))
        for address in (
            "/",
            "/review",
            "/review/summary",
            "/upload",
            "/runs",
            "/rejected",
            "/rejected?reason=blank",
            "/rescored",
            "/models",
            "/agreement",
            "/monitor",
            "/thresholds/workbench",
        ):
            page.goto(f"{site.url}{address}")
            found += faults_on_every_screen(page, f"empty {address}")
        page.context.close()
    night.ledger.close()
    assert found == [], "\n".join(found)


def test_a_summary_of_readings_fits_every_screen(
    open_page: Callable[..., Page], phantom_folder: Path, tmp_path: Path
) -> None:
    night = scored_night(tmp_path / "data", (0.97, 0.93, 0.55, 0.2), phantom_folder)
    (long,) = night.accept(
        phantoms(phantom_folder, [710]), run="Thorax " + "0123456789" * 9, names=[LONG_NAME]
    )
    night.score({long.image_id: 0.9})
    ada = person(night.ledger, "Ada Night")
    findings = (*Finding, Finding.NO_SIGNS)
    with night.ledger.transaction() as session:
        for image_id, finding in enumerate(findings, 1):
            reason = NotJudged.WRONG_VIEW if finding is Finding.NOT_JUDGED else None
            statement, seen = Statement(finding, reason), Seen(score_shown=True, open_ms=3_700_000)
            review.decide(session, image_id, reader_id=ada, statement=statement, at=utc_now(), seen=seen)
    page = open_page()
    with serving(night) as site:
        sign_in(page, site)
        page.goto(f"{site.url}/review/summary")
        expect(page.get_by_role("link", name=LONG_NAME)).to_be_visible()
        found = faults_on_every_screen(page, "a summary")
        page.context.close()
    night.ledger.close()
    assert found == [], "\n".join(found)


def test_forced_colours_keep_threshold_and_states(house: Site, open_page: Callable[..., Page]) -> None:
    page = open_page(forced_colors="active")
    sign_in(page, house)
    page.goto(f"{house.url}/review/1")
    colours: dict[str, str] = page.evaluate("""() => {
      const colour = (selector, property) => getComputedStyle(document.querySelector(selector))[property];
      return {
        threshold: colour(".threshold line", "stroke"),
        marker: colour(".scale .marker path", "fill"),
        clear: colour(".zone.clear", "fill"),
        flagged: colour(".zone.flagged", "fill"),
        hatch: colour(".hatch-line", "fill"),
        text: colour("body", "color"),
        ground: colour("body", "backgroundColor"),
      };
    }""")
    assert colours["threshold"] == colours["marker"] == colours["hatch"] == colours["text"]
    assert len({colours["ground"], colours["flagged"], colours["text"]}) == 3
    assert colours["clear"] == colours["ground"]
    page.goto(f"{house.url}/review")
    current, other = (
        page.locator(f".menu nav a{which}").first for which in ("[aria-current]", ":not([aria-current])")
    )
    border = "element => getComputedStyle(element).borderBottomColor"
    assert current.evaluate(border) != other.evaluate(border) == colours["ground"]


def test_nothing_moves_for_who_asks_for_less_motion(house: Site, open_page: Callable[..., Page]) -> None:
    moving = """[...document.querySelectorAll("*")].map(getComputedStyle)
        .filter((style) => style.transitionDuration !== "0s" || style.animationName !== "none").length"""
    page = open_page(reduced_motion="no-preference")
    sign_in(page, house)
    page.goto(f"{house.url}/review/1")
    page.evaluate("() => { document.body.style.transition = 'opacity 1s'; }")
    assert page.evaluate(moving) > 0
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(moving) == 0


@pytest.mark.parametrize("with_scripts", [True, False], ids=["scripts", "no scripts"])
def test_light_pages_on_request(house: Site, open_page: Callable[..., Page], *, with_scripts: bool) -> None:
    page = open_page(java_script_enabled=with_scripts, color_scheme="dark")
    sign_in(page, house)
    page.goto(f"{house.url}/account")
    expect(page.locator("body")).to_have_css("background-color", DARK)
    page.get_by_role("button", name="Light").click()
    expect(page.get_by_role("button", name="Light", pressed=True)).to_be_visible()
    expect(page.locator("body")).to_have_css("background-color", LIGHT)
    page.goto(f"{house.url}/review/1")
    expect(page.locator("body")).to_have_css("background-color", DARK)
    page.goto(f"{house.url}/account")
    page.get_by_role("button", name="As the system").click()
    expect(page.locator("body")).to_have_css("background-color", DARK)
    page.emulate_media(color_scheme="light")
    expect(page.locator("body")).to_have_css("background-color", LIGHT)
    page.emulate_media(color_scheme="dark", media="print")
    expect(page.locator("body")).to_have_css("background-color", LIGHT)
    expect(page.locator("header.top")).to_be_hidden()


@pytest.mark.parametrize("with_scripts", [True, False], ids=["scripts", "no scripts"])
def test_menu_of_a_phone_reaches_every_page(
    house: Site, open_page: Callable[..., Page], *, with_scripts: bool
) -> None:
    page = open_page(viewport={"width": 390, "height": 800}, java_script_enabled=with_scripts)
    sign_in(page, house)
    expect(page.get_by_role("link", name="Runs")).to_be_hidden()
    page.get_by_role("button", name="Menu").press("Enter")
    page.get_by_role("link", name="Runs").click()
    expect(page).to_have_url(f"{house.url}/runs")
