"""A real server and a real Chromium, for the browser tests and the pictures of the documentation."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, Page, Playwright, expect
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from tests.conftest import Stack
from tests.integration.webui.night import Night
from tests.signing_in import session_key
from webui import create_app
from webui.access.identity import COOKIE
from webui.dependencies import EXTENSION
from worker.ledger.roles import Role
from worker.ledger.session import Ledger

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

    @property
    def ledger(self) -> Ledger:
        """The ledger of the pages."""
        return self.night.ledger


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


def sign_in(
    page: Page, site: Site | Stack, name: str = "Ada Night", roles: Collection[Role] = (Role.READER,)
) -> None:
    """Sign a person in, and open the queue."""
    key = session_key(site.ledger, name, roles)
    page.context.add_cookies([{"name": COOKIE, "value": key, "url": site.url, "sameSite": "Strict"}])
    page.goto(f"{site.url}/review")


def wait_until_shown(page: Page) -> None:
    """Wait until the image has been shown long enough for a shortcut to work."""
    expect(page.locator("html")).to_have_attribute("data-ready", "true")


def press(page: Page, key: str) -> None:
    """Press a key once the page's scripts are loaded."""
    page.wait_for_load_state("load")
    page.keyboard.press(key)
