"""The watcher is killed at every point of its work. The next start finishes or repeats the work."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from tests.conftest import HANG_S, make_settings
from tests.files import jpeg
from tests.filling import assert_consistent
from worker.config import ROOT, Settings
from worker.ledger import schema
from worker.ledger.session import Ledger
from worker.ledger.tables import Image
from worker.store import open_store

# Runs the real folder monitor for two scans and kills itself with SIGKILL at the named point.
DRIVER = """
import os, signal, sys
from functools import wraps
from pathlib import Path
from worker.config import Settings
from worker.intake import accept, watcher
from worker.ledger import receipts
from worker.ledger.session import Ledger
from worker.store import Store, open_store

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def die_after(function, calls=1):
    finished = []
    @wraps(function)
    def call_and_die(*args, **kwargs):
        result = function(*args, **kwargs)
        finished.append(1)
        if len(finished) == calls:
            die()
        return result
    return call_and_die

point = sys.argv[2]
if point == "before anything is stored":
    Store.put = die
elif point == "after the first file is stored":
    Store.put = die_after(Store.put)
elif point == "after all files are stored":
    Store.put = die_after(Store.put, 3)
elif point == "after the store is durable":
    Store.sync = die_after(Store.sync)
elif point == "before the commit":
    receipts.record = die_after(receipts.record)
elif point == "after the commit":
    accept._remove = die
elif point == "after the first removal":
    accept._remove = die_after(accept._remove)
elif point == "after the last removal":
    accept._remove = die_after(accept._remove, 3)

settings = Settings(data=Path(sys.argv[1]), settle_s=0)
acceptor = accept.Acceptor(settings, Ledger(settings.database), open_store(settings))
enqueue = die if point == "before the images are queued" else lambda ids, lane: None
monitor = watcher.FolderMonitor(settings, acceptor, enqueue)
for _ in range(2):
    monitor.scan_once()
"""

POINTS = [
    "before anything is stored",
    "after the first file is stored",
    "after all files are stored",
    "after the store is durable",
    "before the commit",
    "after the commit",
    "after the first removal",
    "after the last removal",
    "before the images are queued",
]
POINTS_AFTER_COMMIT = POINTS[5:]
FILES = {"a.jpg": jpeg(1), "b.jpg": jpeg(2), "c.jpg": b"Dear colleague"}


@pytest.fixture
def inbox_and_ledger(tmp_path: Path) -> Iterator[tuple[Settings, Ledger]]:
    settings = make_settings(tmp_path / "data")
    ledger = Ledger(settings.database)
    schema.upgrade(ledger)
    settings.inbox.mkdir(parents=True)
    for name, data in FILES.items():
        (settings.inbox / name).write_bytes(data)
    yield settings, ledger
    ledger.close()


def scan(settings: Settings, point: str) -> int:
    """Scan twice in a process that dies at this point. Return its exit status."""
    command = [sys.executable, "-c", DRIVER, str(settings.data), point]
    return subprocess.run(command, cwd=ROOT, check=False, timeout=HANG_S).returncode


@pytest.mark.parametrize("point", POINTS)
def test_crash_loses_no_file_and_restart_gives_one_receipt(
    inbox_and_ledger: tuple[Settings, Ledger], point: str
) -> None:
    settings, ledger = inbox_and_ledger
    store = open_store(settings)
    assert scan(settings, point) == -signal.SIGKILL
    assert assert_consistent(ledger).received == (len(FILES) if point in POINTS_AFTER_COMMIT else 0)
    for name, data in FILES.items():
        stored = hashlib.sha256(data).hexdigest() in store.hashes()
        assert stored or (settings.inbox / name).exists(), "no copy of the file is left"

    assert scan(settings, "nowhere") == 0
    counts = assert_consistent(ledger)
    assert (counts.received, counts.images, counts.duplicates) == (3, 3, 0)
    assert (counts.pending, counts.rejected) == (2, 1)
    assert not list(settings.inbox.iterdir())
    with ledger.reading() as session:
        stored_files = {row.original_name: store.read(row.sha256) for row in session.scalars(select(Image))}
    assert stored_files == FILES
