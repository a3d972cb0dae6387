"""Screenshots of phantoms only: `python -m tests.browser.pictures [FOLDER]`.

`FOLDER` (default: docs/pictures) gets those of the documentation, 1280 x 800. Every page, dark and light, on a desk and on
a tablet, goes to build/pictures, for people who look at them. Those are not committed.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from contextlib import suppress
from itertools import product
from pathlib import Path

from PIL import Image as Picture
from playwright.sync_api import Browser, Page, sync_playwright
from sqlalchemy import select

from tests.browser.serving import Site, launch, press, serving, sign_in, wait_until_shown
from tests.browser.test_layout import PAGES
from tests.conftest import HANG_S
from tests.integration.webui.night import RUN, Night, open_night, phantoms
from tests.signing_in import person
from worker.config import ROOT
from worker.ledger import heartbeats, review
from worker.ledger.findings import Finding, NotJudged, Seen, Statement
from worker.ledger.roles import Role
from worker.ledger.session import utc_now
from worker.ledger.tables import Image
from worker.renditions.bounded import NoRendition
from worker.renditions.maker import Maker
from worker.renditions.pack import Kind
from worker.screening import open_screener
from worker.store import open_store

_NIGHT = 24
_WIDTH = 900
_LARGEST_BYTES = 200_000
_EVERY = ROOT / "build" / "pictures"
_SCREENS = {"desk": (1440, 900), "tablet": (820, 1180)}


def main() -> None:
    """Create a ledger of phantoms and save screenshots of its pages."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    for folder in (target, _EVERY):
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        night, uploaded = _create_night(Path(scratch))
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        with serving(night) as site:
            sign_in(page, site, "Ada Night")
            _save(page, f"{site.url}/review", target / "review.png")
            page.goto(f"{site.url}/review/3")
            wait_until_shown(page)
            press(page, "m")
            _save(page, "", target / "viewer.png")
            _save(page, f"{site.url}/upload?receipts={uploaded}", target / "upload.png")
            _save(page, f"{site.url}/runs/{RUN}", target / "runs.png")
            _save(page, f"{site.url}/rejected", target / "rejected.png")
            _save(page, f"{site.url}/models", target / "models.png")
            _read(night)
            for theme, screen in product(("dark", "light"), _SCREENS):
                _save_every_page(browser, site, uploaded, theme, screen)
        browser.close()
        night.ledger.close()


def _save_every_page(browser: Browser, site: Site, uploaded: str, theme: str, screen: str) -> None:
    """Save a picture of each page, whole, as somebody with every role sees it."""
    width, height = _SCREENS[screen]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        has_touch=screen == "tablet",
    )
    context.add_cookies([{"name": "nightread_theme", "value": theme, "url": site.url}])
    page = context.new_page()
    page.goto(f"{site.url}/sign-in")
    _save_whole(page, "sign-in", theme, screen)
    sign_in(page, site, "Ada Night", tuple(Role))
    for address in (each.replace("receipts=1-8", f"receipts={uploaded}") for each in PAGES):
        page.goto(f"{site.url}{address}")
        name = re.sub(r"\W+", "-", address).strip("-") or "home"
        _save_whole(page, name, theme, screen)
        if address == "/review/1":
            wait_until_shown(page)
            press(page, "m")
            _save_whole(page, f"{name}-map", theme, screen)
            press(page, "?")
            _save_whole(page, f"{name}-keys", theme, screen)
    context.close()


def _save_whole(page: Page, name: str, theme: str, screen: str) -> None:
    page.wait_for_load_state("networkidle")
    path = _EVERY / f"{name}-{theme}-{screen}.png"
    width, height = _SCREENS[screen]
    # A screenshot of the full page would forget that the tablet has a touch screen.
    whole = page.evaluate("document.documentElement.scrollHeight")
    page.set_viewport_size({"width": width, "height": max(height, whole)})
    page.screenshot(path=path, animations="disabled")
    page.set_viewport_size({"width": width, "height": height})
    sys.stdout.write(f"{path.name}\n")


def _read(night: Night) -> None:
    """Record some readings, one of them with a note, so that pages and summary have something to show."""
    reader_id = person(night.ledger, "Ada Night")
    said = (
        Statement(Finding.SIGNS, note="right base"),
        Statement(Finding.NO_SIGNS),
        Statement(Finding.NOT_JUDGED, NotJudged.INADEQUATE),
        Statement(Finding.SECOND_OPINION),
    )
    with night.ledger.transaction() as session:
        unread = session.scalars(select(Image.id).where(Image.verdict == "flagged").order_by(Image.id.desc()))
        for image_id, statement in zip(unread.all(), said, strict=False):
            seen = Seen(score_shown=True, map_shown=False, open_ms=9_000)
            review.decide(
                session, image_id, reader_id=reader_id, statement=statement, at=utc_now(), seen=seen
            )


def _create_night(folder: Path) -> tuple[Night, str]:
    """Create a night of phantoms, and return it with the receipts of uploads in the morning.

    The shipped model scores them, so that no score in a picture is invented.
    """
    phantom_folder = folder / "drawn"
    night = open_night(folder / "data")
    screener = open_screener(night.settings)
    screener.screen([item.image_id for item in night.accept(phantoms(phantom_folder, range(_NIGHT), _WIDTH))])
    unreadable = folder / "unreadable"
    unreadable.mkdir()
    (unreadable / "letter.pdf").write_bytes(b"%PDF-1.7")
    (unreadable / "empty.jpg").write_bytes(b"")
    Picture.new("CMYK", (400, 320), (20, 10, 10, 90)).save(unreadable / "printed.jpg")
    night.accept([unreadable / "empty.jpg", unreadable / "printed.jpg"])
    new = phantoms(phantom_folder, range(900, 904), _WIDTH)
    sent = night.accept([*new, phantom_folder / "phantom-000.jpg", unreadable / "letter.pdf"], run="morning")
    screener.screen([item.image_id for item in sent[:3]])
    _make_renditions(night)
    with night.ledger.transaction() as session:
        for name in ("sweeper", "watch", "web", "worker"):
            heartbeats.record_heartbeat(session, name, period_s=3600, at=utc_now())
    return night, f"{sent[0].receipt_id}-{sent[-1].receipt_id}"


def _make_renditions(night: Night) -> None:
    """Make every thumbnail before a page asks for it: a busy machine would show that there is none yet."""
    store = open_store(night.settings)
    maker = Maker(night.settings, store)
    for sha256 in store.hashes():
        # A file that cannot be shown has none.
        with suppress(NoRendition):
            maker.make(sha256, Kind.FULL, wall_s=HANG_S)


def _save(page: Page, url: str, path: Path) -> None:
    """Open the URL, if there is one, and save a screenshot with 256 colours."""
    if url:
        page.goto(url)
    page.wait_for_load_state("networkidle")
    screenshot = Picture.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    screenshot.quantize(256, Picture.Quantize.MAXCOVERAGE, kmeans=3, dither=Picture.Dither.NONE).save(
        path, optimize=True
    )
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size} bytes\n")
    if size > _LARGEST_BYTES:
        sys.exit(f"{path.name} is larger than {_LARGEST_BYTES} bytes")


if __name__ == "__main__":
    main()
