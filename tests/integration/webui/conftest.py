"""An application on a real ledger of phantoms, and clients of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jinja2 import FileSystemBytecodeCache

from tests.integration.webui.night import NO_BROKER, Night, open_night, scored_night
from webui import create_app
from webui.dependencies import EXTENSION, Dependencies
from worker.config import Settings

# The scores of images 1 to 8, from high to low. Two are equal, two are clear.
PROBABILITIES = (0.97, 0.93, 0.93, 0.71, 0.55, 0.41, 0.2, 0.01)

Reader = Callable[[str], FlaskClient]


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of phantoms that the tests share."""
    return tmp_path_factory.mktemp("phantom_folder")


@pytest.fixture(scope="session")
def scored_data(tmp_path_factory: pytest.TempPathFactory, phantom_folder: Path) -> Path:
    """A data folder with eight scored phantoms, to copy."""
    data = tmp_path_factory.mktemp("scored") / "data"
    scored_night(data, PROBABILITIES, phantom_folder).ledger.close()
    return data


@pytest.fixture
def night(tmp_path: Path, scored_data: Path) -> Iterator[Night]:
    """A ledger with eight scored phantoms."""
    shutil.copytree(scored_data, tmp_path / "data")
    made = open_night(tmp_path / "data")
    yield made
    made.ledger.close()


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> FileSystemBytecodeCache:
    """The compiled templates, which all applications share."""
    return FileSystemBytecodeCache(str(tmp_path_factory.mktemp("templates")))


@pytest.fixture(scope="session")
def shared_client(
    tmp_path_factory: pytest.TempPathFactory, scored_data: Path, templates: FileSystemBytecodeCache
) -> Iterator[FlaskClient]:
    """A client of a ledger that no test changes."""
    data = tmp_path_factory.mktemp("looked-at") / "data"
    shutil.copytree(scored_data, data)
    app = create_app(Settings(data=data, broker_url=NO_BROKER))
    app.jinja_env.bytecode_cache = templates
    yield app.test_client()
    app.extensions[EXTENSION].ledger.close()


@pytest.fixture
def app(night: Night, templates: FileSystemBytecodeCache) -> Iterator[Flask]:
    """The application on the ledger of `night`."""
    made = create_app(night.settings)
    made.jinja_env.bytecode_cache = templates
    yield made
    dependencies: Dependencies = made.extensions[EXTENSION]
    dependencies.ledger.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """A client that has not entered a name."""
    return app.test_client()


@pytest.fixture
def reader(app: Flask) -> Reader:
    """A function that returns a client with a reader's name."""

    def with_name(name: str) -> FlaskClient:
        browser = app.test_client()
        answer = browser.post("/reader", data={"name": name, "next": "/review"})
        assert answer.status_code == 303
        return browser

    return with_name
