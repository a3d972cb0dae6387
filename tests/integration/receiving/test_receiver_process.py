"""`nightread receive` as a process: it is killed, stopped, restarted, flooded, and says nothing about patients."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from sqlalchemy import select

from tests.conftest import HANG_S, Stack, free_port, wait_for
from tests.dicom import ECHOSCU, STORESCU, call, radiograph, write, written
from tests.filling import assert_consistent
from tests.integration.receiving.peers import ACCEPTED, LAST, Peer, fragment, pdu, store
from worker.intake.reconcile import ABANDONED_S, Reconciler
from worker.ledger.tables import Image, Receipt
from worker.store import open_store

pytestmark = [pytest.mark.stack, pytest.mark.slow]

PATIENT = "DOE^JANE"
# Runs the real receiver, which kills itself with SIGKILL at the named point of the third object.
DRIVER = """
import os, signal, sys
from functools import wraps
from pathlib import Path
from worker.config import read_settings
from worker.intake import accept
from worker.ledger import receipts
from worker.receiving import process
from worker.receiving.incoming import IncomingObject
from worker.receiving.storing import Storing
from worker.store import Store

def die_after(function, calls):
    finished = []
    @wraps(function)
    def call_and_die(*args, **kwargs):
        result = function(*args, **kwargs)
        finished.append(1)
        if len(finished) == calls:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return call_and_die

point = sys.argv[1]
if point == "while an object arrives":
    IncomingObject.write = die_after(IncomingObject.write, 8)
elif point == "after the object has arrived":
    # Each object is closed when it has arrived, and again when its file is removed.
    IncomingObject.close = die_after(IncomingObject.close, 5)
elif point == "after the object is stored":
    Store.put = die_after(Store.put, 3)
elif point == "before the commit":
    receipts.record = die_after(receipts.record, 3)
elif point == "after the commit":
    accept._remove = die_after(accept._remove, 3)
elif point == "before the answer":
    Storing._answer_to = die_after(Storing._answer_to, 3)
sys.exit(process.receive(read_settings()))
"""
POINTS = [
    "while an object arrives",
    "after the object has arrived",
    "after the object is stored",
    "before the commit",
    "after the commit",
    "before the answer",
]


def launched(stack: Stack, *command: str) -> subprocess.Popen[bytes]:
    """Start a receiver and wait until it answers."""
    process = stack.launch(*command)
    wait_for(
        lambda: process.poll() is not None or call(ECHOSCU, stack.settings.dicom_port).returncode == 0,
        lambda: f"the receiver to answer:\n{stack.log_tail()}",
    )
    assert process.poll() is None, stack.log_tail()
    return process


def ended(process: subprocess.Popen[bytes], number: int) -> int:
    """Send a signal, and return the exit status."""
    process.send_signal(number)
    return process.wait(HANG_S)


@pytest.fixture
def stack(make_stack: Callable[..., Stack]) -> Stack:
    return make_stack(dicom_port=free_port(), log_format="json", log_level="debug")


@pytest.mark.parametrize("point", POINTS)
def test_receiver_killed_at_any_point_loses_nothing_and_doubles_nothing(
    stack: Stack, tmp_path: Path, point: str
) -> None:
    films = written(tmp_path / "films", 6)
    killed = launched(stack, "-c", DRIVER, point)
    first = call(STORESCU, stack.settings.dicom_port, "--no-halt", *films)
    assert killed.wait(HANG_S) == -signal.SIGKILL, stack.log_tail()
    answered = (first.stdout + first.stderr).count("Received Store Response")
    assert 0 < answered < len(films)
    assert_consistent(stack.ledger)

    again = launched(stack, "receive")
    call(STORESCU, stack.settings.dicom_port, "--no-halt", *films)
    assert ended(again, signal.SIGTERM) == 0
    assert_consistent(stack.ledger)
    with stack.ledger.reading() as session:
        hashes = session.scalars(select(Image.sha256)).all()
        receipts = session.scalars(select(Receipt.outcome)).all()
    assert len(set(hashes)) == len(hashes) == len(films)
    assert set(hashes) == set(open_store(stack.settings).hashes())
    committed = point in POINTS[4:]
    assert receipts.count("duplicate") == answered + committed


def test_reconcile_finds_what_a_killed_receiver_left(
    stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The sender never comes back: the stored file becomes an image, and the rest of it goes."""
    killed = launched(stack, "-c", DRIVER, "after the object is stored")
    call(STORESCU, stack.settings.dicom_port, "--no-halt", *written(tmp_path / "films", 3))
    assert killed.wait(HANG_S) == -signal.SIGKILL
    [left] = list(stack.settings.incoming.iterdir())
    later = time.time() + ABANDONED_S + 10
    monkeypatch.setattr(time, "time", lambda: later)
    reconciler = Reconciler(stack.settings, stack.ledger, open_store(stack.settings))
    assert reconciler.repair() == ["1 interrupted uploads removed"]
    assert not left.exists()
    assert reconciler.repair() == ["1 stored files accepted"]
    assert assert_consistent(stack.ledger).images == 3
    assert reconciler.repair() == []


def test_receiver_lets_an_object_arrive_before_it_stops(stack: Stack) -> None:
    process = launched(stack, "receive")
    sender, idle = Peer(stack.settings.dicom_port), Peer(stack.settings.dicom_port)
    assert [sender.associate(), idle.associate()] == [ACCEPTED] * 2
    sender.send(store() + fragment(0, bytes(1000)))
    process.terminate()
    assert idle.ends()
    sender.send(fragment(LAST, bytes(1000)))
    assert sender.status() >= 0
    assert process.wait(HANG_S) == 0
    assert assert_consistent(stack.ledger).received == 1


def test_receiver_stops_although_peers_hold_on(stack: Stack) -> None:
    process = launched(stack, "receive")
    half, unfinished = Peer(stack.settings.dicom_port), Peer(stack.settings.dicom_port)
    half.send(pdu(1, b"")[:3])
    assert unfinished.associate() == ACCEPTED
    unfinished.send(store() + fragment(0, bytes(1000))[:300])
    assert ended(process, signal.SIGTERM) == 0
    assert list(stack.settings.incoming.iterdir()) == []


def test_memory_stays_bounded_whatever_peers_send(make_stack: Callable[..., Stack]) -> None:
    stack = make_stack(dicom_port=free_port(), max_bytes=1_000_000)
    process = launched(stack, "receive")
    memory = psutil.Process(process.pid).memory_info
    before, peers = memory().rss, [Peer(stack.settings.dicom_port) for _ in range(8)]
    for peer in peers[:4]:
        peer.send(pdu(1, bytes(100_000), length=2**32 - 1))
    for peer in peers[4:]:
        assert peer.associate() == ACCEPTED
        peer.send(store())
        for _ in range(60):
            peer.send(fragment(0, bytes(1_000_000 // 8)) * 8)
    grown = memory().rss - before
    assert grown < 60e6, f"{grown / 1e6:.0f} MB for 240 MB"
    assert sum(path.stat().st_size for path in stack.settings.incoming.iterdir()) <= 4 * 1_000_001
    assert ended(process, signal.SIGTERM) == 0


def test_full_disk_is_a_trouble_of_the_receiver(make_stack: Callable[..., Stack], tmp_path: Path) -> None:
    stack = make_stack(dicom_port=free_port(), min_free_bytes=10**18)
    process = launched(stack, "receive")
    sent = call(STORESCU, stack.settings.dicom_port, *written(tmp_path / "films", 1))
    assert "OutOfResources" in sent.stdout + sent.stderr

    def document() -> dict[str, object]:
        return dict(json.loads(stack.run("status", "--json").stdout))

    wait_for(
        lambda: "receive" in str(document()["troubles"]) and "the disk has" in str(document()["troubles"]),
        "the trouble",
    )
    wait_for(lambda: dict(document()["receiver"])["no_space"] == 1, "the count")  # type: ignore[call-overload]
    assert ended(process, signal.SIGTERM) == 0


def test_nothing_of_a_patient_or_a_sender_is_in_the_log(stack: Stack, tmp_path: Path) -> None:
    process = launched(stack, "receive")
    film = radiograph(1)
    film.PatientName = film.PatientID = film.StudyDescription = PATIENT
    call(STORESCU, stack.settings.dicom_port, write(film, tmp_path / "film.dcm"), calling=PATIENT)
    call(STORESCU, stack.settings.dicom_port, tmp_path / "film.dcm", called=PATIENT)
    peer = Peer(stack.settings.dicom_port)
    assert peer.associate(calling=PATIENT) == ACCEPTED
    peer.send(store(PATIENT) + fragment(LAST, PATIENT.encode() * 50))
    assert peer.status() > 0
    broken = Peer(stack.settings.dicom_port)
    assert broken.associate() == ACCEPTED
    broken.send(fragment(3, PATIENT.encode() * 50))
    assert broken.ends()
    assert ended(process, signal.SIGTERM) == 0
    log = stack.log.read_text()
    assert '"event": "accepted files"' in log
    assert not [text for text in (PATIENT, "JANE", "1.2.826", "Traceback") if text in log]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "NIGHTREAD_DICOM_PORT: set it to the port"),
        ({"dicom_port": 11112, "dicom_host": "0.0.0.0"}, "Set NIGHTREAD_DICOM_CALLING"),  # noqa: S104 - refused
        (
            {
                "dicom_port": 11112,
                "dicom_host": "192.0.2.1",
                "dicom_calling": "A",
                "dicom_addresses": "10.0.0.0/8",
            },
            "cannot be used",
        ),
    ],
)
def test_receiver_that_cannot_start_says_why(
    make_stack: Callable[..., Stack], settings: dict[str, object], sentence: str
) -> None:
    ran = make_stack(**settings).run("receive")
    assert (ran.returncode, sentence in ran.stderr) == (2, True), ran.stderr


def test_whole_program_receives_and_restarts_a_killed_receiver(
    make_stack: Callable[..., Stack], tmp_path: Path
) -> None:
    stack = make_stack(dicom_port=free_port(), log_format="json")
    stack.start()
    films = written(tmp_path / "films", 4)
    call(STORESCU, stack.settings.dicom_port, *films[:2], "--no-halt")
    [killed] = stack.processes("receive")
    killed.kill()
    wait_for(lambda: call(ECHOSCU, stack.settings.dicom_port).returncode == 0, "the receiver to be back")
    call(STORESCU, stack.settings.dicom_port, *films, "--no-halt")
    counts = stack.wait_until_done(6)
    assert (counts.received, counts.duplicates, counts.images, counts.balanced) == (6, 2, 4, True)
    document = json.loads(stack.run("status", "--json").stdout)
    assert "receive" in {process["name"] for process in document["processes"]}
    assert stack.stop() == 0
