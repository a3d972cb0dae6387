"""Send files while a test disturbs the program, then check that no file is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from sqlalchemy import func, select

from tests.conftest import HANG_S, Stack, wait_for
from tests.files import distinct
from tests.filling import assert_consistent
from worker.ledger.session import Ledger
from worker.ledger.tables import Image, Prediction


class Sender:
    """Sends distinct images to a stack's inbox and counts them."""

    def __init__(self, stack: Stack, image: Path) -> None:
        self.stack, self.count = stack, 0
        self._image = image.read_bytes()

    def send(self, files: int) -> None:
        for _ in range(files):
            self.stack.drop(f"{self.count}.jpg", distinct(self._image, self.count))
            self.count += 1

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Keep sending files, a few at a time, while the block runs."""
        done = threading.Event()

        def keep_sending() -> None:
            while not done.is_set():
                self.send(2)
                time.sleep(0.15)

        thread = threading.Thread(target=keep_sending)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def assert_no_file_is_lost(self) -> None:
        """Wait until every file is scored. Check that each has one receipt, one image and one prediction."""
        counts = self.stack.wait_until_done(self.count, HANG_S + self.count / 5)
        assert (counts.received, counts.images, counts.scored) == (self.count, self.count, self.count), counts
        assert assert_consistent(self.stack.ledger) == counts
        assert not list(self.stack.settings.inbox.iterdir())
        assert_one_prediction_each(self.stack.ledger, self.count)


def assert_one_prediction_each(ledger: Ledger, images: int) -> None:
    """Check that so many images have a prediction and that none has two."""
    with ledger.reading() as session:
        scored_once = select(Prediction.image_id).group_by(Prediction.image_id).having(func.count() == 1)
        assert (
            len(session.scalars(scored_once).all())
            == session.scalar(select(func.count(Prediction.id)))
            == images
        )


def scoring_processes(stack: Stack) -> list[psutil.Process]:
    """Return the scoring processes, which are the children of the worker."""
    workers = stack.processes("worker")
    parents = {process.pid for process in workers}
    return [process for process in workers if process.ppid() in parents]


def kill_process_with_lease(stack: Stack) -> None:
    """Kill a scoring process after it has leased images and before it records their scores."""
    suspend_process_with_lease(stack, lambda: scoring_processes(stack)).kill()


def suspend_process_with_lease(
    stack: Stack, candidates: Callable[[], list[psutil.Process]]
) -> psutil.Process:
    """Suspend a candidate after it has leased images and before it records their scores. Return it."""
    suspended: list[psutil.Process] = []

    def one_is_suspended() -> bool:
        for process in candidates():
            process.suspend()
            with stack.ledger.reading() as session:
                owners = session.scalars(select(Image.lease_owner).where(Image.state == "leased")).all()
            if any(f":{process.pid}:" in str(owner) for owner in owners):
                suspended.append(process)
                return True
            process.resume()
        return False

    wait_for(one_is_suspended, lambda: f"a scoring process with a lease:\n{stack.log_tail()}")
    return suspended[0]
