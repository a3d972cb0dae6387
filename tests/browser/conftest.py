"""A browser whose every complaint fails the test that it was used in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.serving import Site, launch, serving
from tests.integration.webui.night import a_night

PROBABILITIES = (0.97, 0.93, 0.71, 0.55, 0.2)

expect.set_options(timeout=10_000)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all."""
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms that the tests share."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture
def site(tmp_path: Path, drawn: Path) -> Iterator[Site]:
    """Five phantoms, scored, and their pages."""
    night = a_night(tmp_path / "data", PROBABILITIES, drawn, width=640)
    with serving(night) as served:
        yield served
    night.ledger.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page in a browser of its own (options as for a Playwright context).

    After the test, whatever a page wrote to its console as an error, a refused script or
    style included, fails it; `expected` names what may be there.
    """
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def new_page(expected: tuple[str, ...] = (), **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()

        def note(text: str) -> None:
            if not any(part in text for part in expected):
                complaints.append(text)

        page.on(
            "console", lambda message: note(message.text) if message.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: note(str(error)))
        return page

    yield new_page
    for context in contexts:
        context.close()
    assert complaints == []
