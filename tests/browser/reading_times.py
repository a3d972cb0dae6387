"""Measures how long a reader waits for the next image: `python -m tests.browser.reading_times [IMAGES] [--json]`.

A real `nightread up` serves phantoms of 1.4 megapixels to a real Chromium. Key 1 decides on an image; the time runs from
the key to the moment when the browser has painted the next picture (Element Timing). Each image is decided on as soon as
the viewer takes a key, and, where the next picture is fetched ahead, once it is there.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
from playwright.sync_api import Browser, CDPSession, Page, expect, sync_playwright
from sqlalchemy import select

from bench.measures import median_and_p95
from bench.program import FINISHED_WITHIN_S, images_in, running, wait
from bench.signing_in import session_cookie
from tests.browser.serving import launch, wait_until_shown
from worker.config import Settings, read_settings
from worker.imagefile.parts import with_comment
from worker.ledger.schema import open_ledger
from worker.ledger.session import Ledger
from worker.ledger.states import ImageState
from worker.ledger.tables import Image
from worker.phantom import write_phantom

IMAGES = 30
_WIDTH = 1300
_WITHIN_S = 60.0
# Round trip in milliseconds, and bits a second.
_LINE = (80, 10_000_000)
_WATCH = """
addEventListener("keydown", (event) => {
    if (event.code === "Digit1") sessionStorage.setItem("key", performance.timeOrigin + event.timeStamp);
}, true);
const marked = new WeakSet();
new MutationObserver(() => {
    const picture = document.getElementById("picture");
    if (picture && !marked.has(picture)) {
        marked.add(picture);
        picture.setAttribute("elementtiming", "picture");
    }
}).observe(document, { childList: true, subtree: true });
new PerformanceObserver((list) => {
    const key = sessionStorage.getItem("key");
    for (const { renderTime } of list.getEntries()) {
        if (key && performance.timeOrigin + renderTime > key) {
            sessionStorage.setItem("ms", performance.timeOrigin + renderTime - key);
            sessionStorage.removeItem("key");
        }
    }
}).observe({ type: "element", buffered: true });
"""


@dataclass(frozen=True)
class Way:
    """How the next image comes: over which line, and what is left out for comparison."""

    name: str
    line: bool
    without: str | None

    @property
    def is_ahead(self) -> bool:
        """Whether the next picture is there when the key is pressed."""
        return self.without is None


WAYS = [
    Way(f"{prefix}_{name}", line, without)
    for line, prefix in ((False, "same_machine"), (True, "line"))
    for name, without in (
        ("prefetched", None),
        ("not_prefetched", "*ahead=1*"),
    )
]


def main() -> None:
    """Measure every way and print the table, or the document."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--json"]
    document = measure(read_settings(), int(arguments[0]) if arguments else IMAGES)
    sys.stdout.write((json.dumps(document, indent=2) if "--json" in sys.argv else as_text(document)) + "\n")


def measure(settings: Settings, count: int) -> dict[str, Any]:
    """Return median and 95th percentile of each way in milliseconds, over `count` images each."""
    with tempfile.TemporaryDirectory(prefix="nightread-bench-") as name:
        files = _files(Path(name) / "files", len(WAYS) * (count + 1) + 1)
        with running(settings, Path(name) / "data") as (served, supervisor):
            url, ledger = f"http://127.0.0.1:{served.port}", open_ledger(served.database)
            for path in files:
                path.rename(served.inbox / path.name)
            wait(lambda: images_in(ledger, ImageState.SCORED) >= len(files), FINISHED_WITHIN_S, supervisor)
            cookie = session_cookie(ledger)
            _make_renditions(url, cookie, ledger)
            loads = [os.getloadavg()[0]]
            times = _times(url, cookie, count)
            loads.append(os.getloadavg()[0])
            ledger.close()
    measured = {
        way: dict(zip(("p50_ms", "p95_ms"), median_and_p95(ms), strict=True)) for way, ms in times.items()
    }
    return {
        "images": count,
        "cores": os.cpu_count(),
        "load_before": loads[0],
        "load_after": loads[1],
        **measured,
    }


def as_text(document: dict[str, Any]) -> str:
    """Return the document as text for people."""
    return "\n".join(
        [
            f"{document['images']} images each; load {document['load_before']:.1f} before, {document['load_after']:.1f} after",
            *(
                f"  {way.name:30} {document[way.name]['p50_ms']:7.0f} ms median, {document[way.name]['p95_ms']:7.0f} ms p95"
                for way in WAYS
            ),
        ]
    )


def _files(folder: Path, count: int) -> list[Path]:
    """Draw 31 phantoms, and write each several times with another comment, so that each file is another image."""
    folder.mkdir(parents=True)
    drawn = [
        write_phantom(folder / f"drawn-{seed}.jpg", seed, width=_WIDTH).read_bytes()
        for seed in range(IMAGES + 1)
    ]
    shutil.rmtree(folder)
    folder.mkdir()
    files = []
    for number in range(count):
        files.append(folder / f"{number:05d}.jpg")
        files[-1].write_bytes(with_comment(drawn[number % len(drawn)], f"reading times {number}"))
    return files


def _make_renditions(url: str, cookie: tuple[str, str], ledger: Ledger) -> None:
    """Ask for each picture once: in the morning, they have been made."""
    with ledger.reading() as session:
        image_ids = session.scalars(select(Image.id)).all()
    for image_id in image_ids:
        while (
            requests.get(
                f"{url}/images/{image_id}/picture", cookies=dict([cookie]), timeout=_WITHIN_S
            ).status_code
            == 503
        ):
            pass


def _times(url: str, cookie: tuple[str, str], count: int) -> dict[str, list[float]]:
    with sync_playwright() as playwright:
        browser = launch(playwright)
        times = {}
        for way in WAYS:
            with _page(browser, url, cookie, way) as page:
                # The first answer of a new server takes longer: no reader waits for it twice.
                times[way.name] = [_decide(page, way) for _ in range(count + 1)][1:]
        browser.close()
    return times


@contextmanager
def _page(browser: Browser, url: str, cookie: tuple[str, str], way: Way) -> Iterator[Page]:
    """Open the first unread image."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(1000 * _WITHIN_S)
    context.add_cookies([{"name": cookie[0], "value": cookie[1], "url": url, "sameSite": "Strict"}])
    context.add_init_script(_WATCH)
    page = context.new_page()
    _hinder(context.new_cdp_session(page), way)
    page.goto(f"{url}/review?verdict=any")
    page.locator(".row").first.click()
    yield page
    context.close()


def _hinder(devtools: CDPSession, way: Way) -> None:
    """Slow the line down and block what the way leaves out. Playwright's own routes would delay every request."""
    devtools.send("Network.enable")
    if way.without:
        devtools.send("Network.setBlockedURLs", {"urls": [way.without]})
    if way.line:
        round_trip_ms, bits_per_s = _LINE
        bytes_per_s = bits_per_s / 8
        devtools.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": round_trip_ms,
                "downloadThroughput": bytes_per_s,
                "uploadThroughput": bytes_per_s,
            },
        )


def _decide(page: Page, way: Way) -> float:
    """Press the key once the viewer takes it, and return the milliseconds to the next picture."""
    wait_until_shown(page)
    if way.is_ahead:
        expect(page.locator("html")).to_have_attribute(
            "data-ahead", re.compile("."), timeout=1000 * _WITHIN_S
        )
    page.keyboard.press("1")
    page.wait_for_function("() => sessionStorage.getItem('ms')")
    return float(
        page.evaluate(
            "() => { const ms = sessionStorage.getItem('ms'); sessionStorage.removeItem('ms'); return ms; }"
        )
    )


if __name__ == "__main__":
    main()
