"""Many who send at the same instant: uploads, the folder, and two who watch one folder."""

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
from worker.ledger.tables import Receipt
from worker.queue import embedded

pytestmark = pytest.mark.stack

MANY = 200
FEW = 20


def all_at_once(work: Sequence[Callable[[], Any]]) -> list[Any]:
    """Do all of it from the same instant on; what each gave."""
    start = threading.Barrier(len(work))

    def wait_and_do(each: Callable[[], Any]) -> Any:
        start.wait(HANG_S)
        return each()

    with ThreadPoolExecutor(len(work)) as threads:
        return list(threads.map(wait_and_do, work))


@pytest.fixture(params=["sqlite", "postgresql"])
def chosen(request: pytest.FixtureRequest) -> dict[str, str]:
    """Settings for both databases in turn."""
    own = request.param == "sqlite"
    return {} if own else {"database_url": request.getfixturevalue("postgres_url")}


@pytest.mark.postgres
def test_simultaneous_uploads_each_get_an_answer_and_a_receipt(
    chosen: dict[str, str], make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(max_attempts=100, **chosen)
    stack.start()
    picture = phantoms[0].read_bytes()
    files = {f"{number}.jpg": distinct(picture, number) for number in range(MANY)}
    answers = all_at_once([partial(upload, stack.url, name, data) for name, data in files.items()])
    assert Counter((status, said["outcome"]) for status, said in answers) == {(200, "new"): MANY}
    assert [said["file"] for _, said in answers] == list(files)
    assert (
        len({said["receipt"] for _, said in answers}) == len({said["image"] for _, said in answers}) == MANY
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
    # Without a rest a file is read at the second scan, while its twin is on its way.
    stack = make_stack(settle_s=0.0, scan_s=0.2)
    stack.start()
    picture = phantoms[0].read_bytes()
    files = {f"{number}.jpg": distinct(picture, number) for number in range(FEW)}
    drops = [partial(stack.drop, name, data) for name, data in files.items()]
    uploads = [partial(upload, stack.url, name, data) for name, data in files.items()]
    answers = all_at_once([*drops, *uploads])[FEW:]
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
    wait_for(lambda: embedded.is_ready(stack.settings), stack.log_tail)
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
