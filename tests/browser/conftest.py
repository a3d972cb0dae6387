"""Browser pages; an error or a warning in the console of a page fails its test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from tests.browser.serving import Site, launch, serving
from tests.conftest import HANG_S
from tests.integration.webui.night import scored_night

PROBABILITIES = (0.97, 0.93, 0.71, 0.55, 0.2)

expect.set_options(timeout=1000 * HANG_S)

_CONTEXTS = pytest.StashKey[list[BrowserContext]]()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Close a test's pages before a fixture stops their server.

    A page that still loads a picture or asks for news would log a connection that was reset.
    """
    for context in item.stash.get(_CONTEXTS, []):
        context.close()


@pytest.fixture(autouse=True)
def figures_are_never_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each change show in the next figures: a test may ask for them right after the one before."""
    monkeypatch.setattr("webui.versioned_cache._KEEP_FACTOR", 0.0)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """One Chromium for all tests."""
    with sync_playwright() as playwright:
        started = launch(playwright)
        yield started
        started.close()


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms that the tests share."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture
def site(tmp_path: Path, phantom_folder: Path) -> Iterator[Site]:
    """The pages of a ledger with five scored phantoms."""
    night = scored_night(tmp_path / "data", PROBABILITIES, phantom_folder, width=640)
    with serving(night) as served:
        yield served
    night.ledger.close()


@pytest.fixture
def open_page(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page in a browser context of its own, with Playwright's options for contexts.

    After the test, every error and warning in the console fails it, a blocked script or style included.
    `expected` lists texts that are allowed.
    """
    contexts = request.node.stash.setdefault(_CONTEXTS, [])
    console_errors: list[str] = []

    def new_page(expected: tuple[str, ...] = (), **options: object) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})  # type: ignore[arg-type]
        contexts.append(context)
        context.set_default_timeout(1000 * HANG_S)
        page = context.new_page()

        def record(text: str) -> None:
            if not any(part in text for part in expected):
                console_errors.append(text)

        page.on(
            "console", lambda message: record(message.text) if message.type in {"error", "warning"} else None
        )
        page.on("pageerror", lambda error: record(str(error)))
        return page

    yield new_page
    assert console_errors == []
