"""Files that keep arriving while something is done to the program, and what must hold in the end."""

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
    """Drops distinct pictures into a stack's inbox and counts them."""

    def __init__(self, stack: Stack, picture: Path) -> None:
        self.stack, self.count = stack, 0
        self._picture = picture.read_bytes()

    def send(self, files: int) -> None:
        for _ in range(files):
            self.stack.drop(f"{self.count}.jpg", distinct(self._picture, self.count))
            self.count += 1

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Files keep arriving, a few at a time, while the block runs."""
        done = threading.Event()

        def arrive() -> None:
            while not done.is_set():
                self.send(2)
                time.sleep(0.15)

        thread = threading.Thread(target=arrive)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def assert_no_file_is_lost(self) -> None:
        """Every file has one receipt, one image, one prediction; the books and the trail hold."""
        counts = self.stack.wait_until_done(self.count, HANG_S + self.count / 5)
        assert (counts.received, counts.images, counts.scored) == (self.count, self.count, self.count)
        assert assert_consistent(self.stack.ledger) == counts
        assert not list(self.stack.settings.inbox.iterdir())
        assert_one_prediction_each(self.stack.ledger, self.count)


def assert_one_prediction_each(ledger: Ledger, images: int) -> None:
    """So many images have a prediction, and none has two."""
    with ledger.reading() as session:
        one_each = select(Prediction.image_id).group_by(Prediction.image_id).having(func.count() == 1)
        assert (
            len(session.scalars(one_each).all())
            == session.scalar(select(func.count(Prediction.id)))
            == images
        )


def scoring_processes(stack: Stack) -> list[psutil.Process]:
    """The worker's children that score."""
    workers = stack.processes("worker")
    parents = {process.pid for process in workers}
    return [process for process in workers if process.ppid() in parents]


def kill_process_with_lease(stack: Stack) -> None:
    """Kill a scoring process between its lease and its record."""
    suspend_process_with_lease(stack, lambda: scoring_processes(stack)).kill()


def suspend_process_with_lease(stack: Stack, those: Callable[[], list[psutil.Process]]) -> psutil.Process:
    """Suspend one of those scoring processes between its lease and its record."""
    stopped: list[psutil.Process] = []

    def caught() -> bool:
        for process in those():
            process.suspend()
            with stack.ledger.reading() as session:
                owners = session.scalars(select(Image.lease_owner).where(Image.state == "leased")).all()
            if any(f":{process.pid}:" in str(owner) for owner in owners):
                stopped.append(process)
                return True
            process.resume()
        return False

    wait_for(caught, lambda: f"a scoring process at work:\n{stack.log_tail()}")
    return stopped[0]
