"""Screenshots for the documentation, of phantoms only: `python -m tests.browser.pictures [FOLDER]`."""

from __future__ import annotations

import io
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.serving import launch, press, serving, sign_in, wait_until_shown
from tests.conftest import HANG_S
from tests.integration.webui.night import RUN, Night, open_night, phantoms
from worker.config import ROOT
from worker.ledger import heartbeats
from worker.ledger.session import utc_now
from worker.renditions.bounded import NoRendition
from worker.renditions.maker import Maker
from worker.renditions.pack import Kind
from worker.screening import open_screener
from worker.store import open_store

_NIGHT = 24
_WIDTH = 900
_LARGEST_BYTES = 200_000


def main() -> None:
    """Create a ledger of phantoms and save screenshots of its pages."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        night, uploaded = _create_night(Path(folder))
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
        browser.close()
        night.ledger.close()


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
    Image.new("CMYK", (400, 320), (20, 10, 10, 90)).save(unreadable / "printed.jpg")
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
    screenshot = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    screenshot.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size} bytes\n")
    if size > _LARGEST_BYTES:
        sys.exit(f"{path.name} is larger than {_LARGEST_BYTES} bytes")


if __name__ == "__main__":
    main()
