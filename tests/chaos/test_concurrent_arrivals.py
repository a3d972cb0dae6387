"""Many files arrive at the same instant, by upload and by folder, and two watchers share one folder."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from tests.chaos.sender import Sender, assert_one_prediction_each
from tests.chaos.uploads import upload
from tests.conftest import HANG_S, Stack, wait_for
from tests.files import distinct
from tests.filling import assert_consistent
from tests.signing_in import bearer
from worker.ledger.roles import Scope
from worker.ledger.tables import Receipt
from worker.queue import bundled_broker

pytestmark = pytest.mark.stack

MANY = 200
FEW = 20


def run_at_once(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Start all calls at the same instant and return their results, in order."""
    start = threading.Barrier(len(calls))

    def wait_and_run(call: Callable[[], Any]) -> Any:
        start.wait(HANG_S)
        return call()

    with ThreadPoolExecutor(len(calls)) as threads:
        return list(threads.map(wait_and_run, calls))


@pytest.fixture(params=["sqlite", "postgresql"])
def database_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the settings for SQLite and for PostgreSQL in turn."""
    is_default = request.param == "sqlite"
    return {} if is_default else {"database_url": request.getfixturevalue("postgres_url")}


@pytest.mark.postgres
def test_simultaneous_uploads_each_get_an_answer_and_a_receipt(
    database_settings: dict[str, str], make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(max_attempts=100, **database_settings)
    stack.start()
    image = phantoms[0].read_bytes()
    files = {f"{number}.jpg": distinct(image, number) for number in range(MANY)}
    headers = bearer(stack.ledger, {Scope.IMAGES_WRITE})
    answers = run_at_once([partial(upload, stack.url, name, data, headers) for name, data in files.items()])
    assert Counter((status, result["outcome"]) for status, result in answers) == {(200, "new"): MANY}
    assert [result["file"] for _, result in answers] == list(files)
    assert (
        len({result["receipt"] for _, result in answers})
        == len({result["image"] for _, result in answers})
        == MANY
    )
    counts = stack.wait_until_done(MANY)
    assert (counts.received, counts.images, counts.scored) == (MANY, MANY, MANY)
    assert assert_consistent(stack.ledger) == counts
    assert_one_prediction_each(stack.ledger, MANY)
    assert not list(stack.settings.incoming.iterdir())
    with stack.ledger.reading() as session:
        receipts = session.scalars(select(Receipt)).all()
        names = {receipt.original_name: receipt.sha256 for receipt in receipts}
        assert len(names) == len(set(names.values())) == MANY
    assert "Traceback" not in stack.log.read_text()


def test_same_bytes_by_folder_and_upload_make_one_image(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    # Without a settle time, the second scan reads a file while its upload is still running.
    stack = make_stack(settle_s=0.0, scan_s=0.2)
    stack.start()
    image = phantoms[0].read_bytes()
    files = {f"{number}.jpg": distinct(image, number) for number in range(FEW)}
    drops = [partial(stack.drop, name, data) for name, data in files.items()]
    headers = bearer(stack.ledger, {Scope.IMAGES_WRITE})
    uploads = [partial(upload, stack.url, name, data, headers) for name, data in files.items()]
    answers = run_at_once([*drops, *uploads])[FEW:]
    assert {status for status, _ in answers} == {200}
    counts = stack.wait_until_done(2 * FEW)
    assert (counts.received, counts.duplicates, counts.images, counts.scored) == (2 * FEW, FEW, FEW, FEW)
    assert assert_consistent(stack.ledger) == counts
    assert_one_prediction_each(stack.ledger, FEW)
    assert not list(stack.settings.inbox.iterdir())
    assert "Traceback" not in stack.log.read_text()


def test_two_watchers_of_one_folder_give_one_receipt_per_file(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=4, max_attempts=100, settle_s=0.0, scan_s=0.1)
    stack.launch("broker")
    wait_for(lambda: bundled_broker.is_ready(stack.settings), stack.log_tail)
    watchers = [stack.launch("watch"), stack.launch("watch")]
    stack.launch("worker")
    sender = Sender(stack, phantoms[0])
    sender.send(100)
    with sender.sending():
        wait_for(lambda: stack.file_counts().received > 100, stack.log_tail)
        watchers[0].send_signal(signal.SIGKILL)
        watchers[0].wait(HANG_S)
        watchers.append(stack.launch("watch"))
        before = stack.file_counts().received
        wait_for(lambda: stack.file_counts().received > before + 20, stack.log_tail)
    sender.assert_no_file_is_lost()
    assert all(watcher.poll() is None for watcher in watchers[1:])
    assert "Traceback" not in stack.log.read_text()
