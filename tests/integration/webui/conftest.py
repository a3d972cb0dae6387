"""An application on a real ledger full of phantoms, and people who look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.integration.webui.night import Night, a_night
from webui import create_app
from webui.dependencies import EXTENSION, Dependencies

# From the most to the least urgent, as image 1 to 8; two of one probability, two clear ones.
PROBABILITIES = (0.97, 0.93, 0.93, 0.71, 0.55, 0.41, 0.2, 0.01)

Reader = Callable[[str], FlaskClient]


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms that the tests share."""
    return tmp_path_factory.mktemp("drawn")


@pytest.fixture
def night(tmp_path: Path, drawn: Path) -> Iterator[Night]:
    """Eight phantoms, scored."""
    made = a_night(tmp_path / "data", PROBABILITIES, drawn)
    yield made
    made.ledger.close()


@pytest.fixture(scope="session")
def onlooker(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Iterator[FlaskClient]:
    """Someone who looks at a night that no test changes."""
    night = a_night(tmp_path_factory.mktemp("looked-at"), PROBABILITIES, drawn)
    app = create_app(night.settings)
    yield app.test_client()
    app.extensions[EXTENSION].ledger.close()
    night.ledger.close()


@pytest.fixture
def app(night: Night) -> Iterator[Flask]:
    """The application on that night."""
    made = create_app(night.settings)
    yield made
    dependencies: Dependencies = made.extensions[EXTENSION]
    dependencies.ledger.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Someone who only looks."""
    return app.test_client()


@pytest.fixture
def reader(app: Flask) -> Reader:
    """A function that gives a browser whose reader has said their name."""

    def sign_in(name: str) -> FlaskClient:
        browser = app.test_client()
        answer = browser.post("/reader", data={"name": name, "next": "/review"})
        assert answer.status_code == 303
        return browser

    return sign_in
