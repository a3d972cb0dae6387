"""Screenshots for the documentation, of phantoms only: `python -m tests.browser.pictures [FOLDER]`."""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.browser.serving import launch, press, say_name, serving, wait_until_looked
from tests.integration.webui.night import RUN, Night, begin, phantoms
from worker.config import ROOT
from worker.ledger import heartbeats
from worker.ledger.session import utc_now
from worker.screening import open_screener

_NIGHT = 24
_WIDTH = 900
_LARGEST_BYTES = 200_000


def main() -> None:
    """Draw a night, look at its pages, and keep what is seen."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "pictures"
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        night, uploaded = _a_whole_night(Path(folder))
        browser = launch(playwright)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        with serving(night) as site:
            say_name(page, site.url, "Ada Night")
            _keep(page, f"{site.url}/review", target / "review.png")
            page.goto(f"{site.url}/review/3")
            wait_until_looked(page)
            press(page, "m")
            _keep(page, "", target / "viewer.png")
            _keep(page, f"{site.url}/upload?receipts={uploaded}", target / "upload.png")
            _keep(page, f"{site.url}/runs/{RUN}", target / "runs.png")
            _keep(page, f"{site.url}/rejected", target / "rejected.png")
            _keep(page, f"{site.url}/models", target / "models.png")
        browser.close()
        night.ledger.close()


def _a_whole_night(folder: Path) -> tuple[Night, str]:
    """A night of phantoms, and the receipts of what was uploaded in the morning.

    The shipped model scores them: no number in a picture is invented either.
    """
    drawn = folder / "drawn"
    night = begin(folder / "data")
    screener = open_screener(night.settings)
    screener.screen([item.image_id for item in night.accept(phantoms(drawn, range(_NIGHT), _WIDTH))])
    bad = folder / "bad"
    bad.mkdir()
    (bad / "letter.pdf").write_bytes(b"%PDF-1.7")
    (bad / "empty.jpg").write_bytes(b"")
    Image.new("CMYK", (400, 320), (20, 10, 10, 90)).save(bad / "printed.jpg")
    night.accept([bad / "empty.jpg", bad / "printed.jpg"])
    fresh = phantoms(drawn, range(900, 904), _WIDTH)
    sent = night.accept([*fresh, drawn / "phantom-000.jpg", bad / "letter.pdf"], run="morning")
    screener.screen([item.image_id for item in sent[:3]])
    with night.ledger.transaction() as session:
        for name in ("sweeper", "watch", "web", "worker"):
            heartbeats.record_heartbeat(session, name, period_s=3600, at=utc_now())
    return night, f"{sent[0].receipt_id}-{sent[-1].receipt_id}"


def _keep(page: Page, url: str, path: Path) -> None:
    """Go there, unless the page is there already, and keep what is seen in few colours."""
    if url:
        page.goto(url)
    page.wait_for_load_state("networkidle")
    seen = Image.open(io.BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    seen.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=3, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    size = path.stat().st_size
    sys.stdout.write(f"{path.name}: {size} bytes\n")
    if size > _LARGEST_BYTES:
        sys.exit(f"{path.name} is larger than {_LARGEST_BYTES} bytes")


if __name__ == "__main__":
    main()
