"""A real server and a real Chromium, for the browser tests and the pictures of the documentation."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, Playwright, expect
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.integration.webui.night import Night
from webui import create_app
from webui.dependencies import EXTENSION

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_NAMES = ("chromium", "chromium-browser", "google-chrome")


class _SilentRequestHandler(WSGIRequestHandler):
    def log_request(self, *_: object) -> None:
        pass


@dataclass(frozen=True)
class Site:
    """A server with the pages of a ledger."""

    url: str
    night: Night
    server: BaseWSGIServer


@contextmanager
def serving(night: Night) -> Iterator[Site]:
    """Serve the pages of a ledger inside the block."""
    app = create_app(night.settings)
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_SilentRequestHandler)
    thread = threading.Thread(target=server.serve_forever, name="pages")
    thread.start()
    try:
        yield Site(f"http://127.0.0.1:{server.server_port}", night, server)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        app.extensions[EXTENSION].ledger.close()


def launch(playwright: Playwright) -> Browser:
    """Start the installed Chromium, else the one of Playwright."""
    executable = next((path for name in _NAMES if (path := shutil.which(name))), None)
    return playwright.chromium.launch(executable_path=executable, args=list(_FLAGS))


def enter_name(page: Page, url: str, name: str = "Ada Night") -> None:
    """Enter the reader's name."""
    page.goto(f"{url}/reader")
    page.get_by_label("Your name").fill(name)
    page.get_by_role("button", name="Continue").click()


def wait_until_shown(page: Page) -> None:
    """Wait until the image has been shown long enough for a shortcut to work."""
    expect(page.locator("html")).to_have_attribute("data-ready", "true")


def press(page: Page, key: str) -> None:
    """Press a key once the page's scripts are loaded."""
    page.wait_for_load_state("load")
    page.keyboard.press(key)
