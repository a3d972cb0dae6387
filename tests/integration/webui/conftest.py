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
from tests.signing_in import Browser, sign_in
from webui import create_app
from webui.access.identity import COOKIE
from webui.dependencies import EXTENSION, Dependencies
from worker.config import Settings
from worker.ledger import sign_ins, users
from worker.ledger.roles import Role
from worker.ledger.session import ledger_time
from worker.ledger.sign_ins import Method

# The scores of images 1 to 8, from high to low. Two are equal, two are clear.
PROBABILITIES = (0.97, 0.93, 0.93, 0.71, 0.55, 0.41, 0.2, 0.01)

Reader = Callable[[str], FlaskClient]


@pytest.fixture(autouse=True)
def figures_are_never_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have each change show in the next figures: a test may ask for them right after the one before."""
    monkeypatch.setattr("webui.versioned_cache._KEEP_FACTOR", 0.0)


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
    """A client of a ledger that no test changes, signed in with every role."""
    data = tmp_path_factory.mktemp("looked-at") / "data"
    shutil.copytree(scored_data, data)
    app = create_app(Settings(data=data, broker_url=NO_BROKER))
    app.jinja_env.bytecode_cache = templates
    ledger = app.extensions[EXTENSION].ledger
    yield sign_in(app.test_client(), ledger)
    ledger.close()


@pytest.fixture
def app(night: Night, templates: FileSystemBytecodeCache) -> Iterator[Flask]:
    """The application on the ledger of `night`."""
    made = create_app(night.settings)
    made.test_client_class = Browser
    made.jinja_env.bytecode_cache = templates
    yield made
    dependencies: Dependencies = made.extensions[EXTENSION]
    dependencies.ledger.close()


@pytest.fixture
def client(app: Flask, night: Night) -> FlaskClient:
    """A client that is signed in with every role."""
    return sign_in(app.test_client(), night.ledger)


@pytest.fixture
def unnamed(app: Flask, night: Night) -> FlaskClient:
    """The client of the first administrator, who has not entered a name."""
    with night.ledger.transaction() as session:
        at = ledger_time(session)
        first = users.first_administrator(session, at)
        assert first is not None
        key = sign_ins.start(session, first, Method.LINK, address="", browser="", at=at)[1]
    browser = app.test_client()
    browser.set_cookie(COOKIE, key)
    return browser


@pytest.fixture
def reader(app: Flask, night: Night) -> Reader:
    """A function that returns the client of a reader with this name."""
    return lambda name: sign_in(app.test_client(), night.ledger, name, {Role.READER})
