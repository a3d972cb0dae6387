"""worker.receiving: what a sender is told, and when."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydicom import config, uid

from tests.conftest import wait_for
from tests.dicom_objects import grey_object, phantom_values, without_meta
from tests.integration.receiving.peers import (
    ACCEPTED,
    LAST,
    Peer,
    Running,
    Start,
    fragment,
    store,
)
from tests.planting import NAME, NEEDED, files_with_the_name, plant
from worker.errors import DatabaseAway, StoreAway, TransientFailure
from worker.ledger.receiver_tallies import Kind, totals
from worker.receiving.incoming import file_start

SUCCESS, PROCESSING_FAILURE, NO_SPACE, REFUSED = 0x0000, 0x0110, 0xA700, 0xC000
# Less than the longest PDU that the receiver takes.
_PART = 100_000
OBJECT = b"\x08\x00\x60\x00\x02\x00\x00\x00CR"


def send(running: Running, *objects: bytes, calling: str = "PEER") -> list[int]:
    """Send objects in one association, and return the status of each."""
    peer = Peer(running.port)
    assert peer.associate(calling=calling) == ACCEPTED
    statuses = []
    for number, content in enumerate(objects):
        parts = [content[at : at + _PART] for at in range(0, len(content), _PART)]
        peer.send(store(f"1.2.3.{number}") + b"".join(fragment(0, part) for part in parts[:-1]))
        peer.send(fragment(LAST, parts[-1]))
        statuses.append(peer.status())
    peer.close()
    return statuses


def test_meta_information_never_changes() -> None:
    """It is part of each file's hash: a change would make new images of objects that come again."""
    start = file_start(str(uid.ComputedRadiographyImageStorage), "1.2.3", str(uid.ImplicitVRLittleEndian))
    assert start == b"\0" * 128 + b"DICM" + (
        b"\x02\x00\x00\x00UL\x04\x00\x9e\x00\x00\x00"
        b"\x02\x00\x01\x00OB\x00\x00\x02\x00\x00\x00\x00\x01"
        b"\x02\x00\x02\x00UI\x1a\x001.2.840.10008.5.1.4.1.1.1\x00"
        b"\x02\x00\x03\x00UI\x06\x001.2.3\x00"
        b"\x02\x00\x10\x00UI\x12\x001.2.840.10008.1.2\x00"
        b"\x02\x00\x12\x00UI,\x002.25.319446842803126447311746251226153873467"
        b"\x02\x00\x13\x00SH\n\x00NIGHTREAD "
    )


def test_same_object_again_is_a_duplicate_whoever_sends_it(start: Start) -> None:
    running = start()
    first, second = send(running, OBJECT), send(running, OBJECT, calling="ARCHIVE")
    assert first == second
    receipts = running.receipts()
    assert [receipt.outcome for receipt in receipts] == ["rejected", "duplicate"]
    assert {(receipt.source, receipt.sha256) for receipt in receipts} == {("dicom", receipts[0].sha256)}
    assert running.left_in_spool() == []


def test_only_a_sender_on_the_list_is_named_on_the_receipt_and_never_in_the_trail(start: Start) -> None:
    listed, open_to_all = start(dicom_calling="PEER, CT_1"), start()
    for running in (listed, open_to_all):
        send(running, OBJECT)
    assert listed.receipts()[0].received_by == "ae:PEER"
    assert open_to_all.receipts()[0].received_by is None
    with listed.ledger.reading() as session:
        events = session.connection().exec_driver_sql("SELECT actor, payload FROM audit_event").all()
    assert {event.actor for event in events} == {"nightread"}
    assert "PEER" not in "".join(event.payload for event in events)


def test_full_disk_is_answered_before_an_object_arrives(start: Start) -> None:
    running = start(min_free_bytes=10**18)
    assert send(running, OBJECT) == [NO_SPACE]
    assert (running.receipts(), running.left_in_spool()) == ([], [])
    assert running.counted(Kind.NO_SPACE) == 1


def test_disk_that_fills_up_while_an_object_arrives_is_answered(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    free = iter([10**12])
    monkeypatch.setattr(running.acceptor, "free_bytes", lambda: next(free, 0))
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store() + fragment(0, bytes(100_000)) * 60 + fragment(LAST, b"end"))
    assert peer.status() == NO_SPACE
    wait_for(lambda: running.left_in_spool() == [], "the file to be gone")


@pytest.mark.parametrize("failure", [DatabaseAway("the database is locked"), StoreAway("the share is gone")])
def test_failure_that_may_pass_is_a_processing_failure(
    start: Start, monkeypatch: pytest.MonkeyPatch, failure: TransientFailure
) -> None:
    running = start()

    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(running.acceptor._ledger, "transaction", fail)
    assert send(running, OBJECT, OBJECT + b" ") == [PROCESSING_FAILURE] * 2
    monkeypatch.undo()
    assert running.receipts() == []
    # Its bytes are in the store already, and its receipt comes with the next try.
    assert send(running, OBJECT) == [REFUSED]
    assert len(running.receipts()) == 1


def test_defect_is_a_processing_failure_and_the_association_goes_on(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start()
    monkeypatch.setattr(running.acceptor, "accept", lambda *_, **__: 1 / 0)
    assert send(running, OBJECT, OBJECT) == [PROCESSING_FAILURE] * 2


def test_bytes_are_synced_before_the_answer(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start()
    order: list[str] = []
    sync, answer = os.fsync, type(running.storing)._answer_to

    def note_sync(handle: int) -> None:
        order.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    def note_answer(self: Any, accepted: Any) -> Any:
        order.append(f"answer to receipt {len(running.receipts())}")
        return answer(self, accepted)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(type(running.storing), "_answer_to", note_answer)
    send(running, OBJECT)
    [receipt] = running.receipts()
    assert order[-1] == "answer to receipt 1"
    assert {path.rpartition("/")[2] for path in order[:-1]} >= {receipt.sha256, receipt.sha256[:2]}


def test_refusal_names_code_and_receipt_in_its_comment(start: Start) -> None:
    running = start()
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store() + fragment(LAST, OBJECT))
    _, body = peer.answer()
    [receipt] = running.receipts()
    assert f"Not taken: {receipt.reason_code}, receipt {receipt.id}".encode() in body


def test_new_images_are_published_together(start: Start) -> None:
    running = start()
    for image_id in range(40):
        running.storing._new.put(image_id)
    running.storing.publish_new()
    assert running.published == list(range(40))


def test_counts_are_added_to_the_ledger(start: Start) -> None:
    running = start()
    for _ in range(2):
        send(running, OBJECT)
        running.counts.write(running.ledger)
    running.counts.write(running.ledger)
    with running.ledger.reading() as session:
        total = totals(session)
    assert {kind: count for kind, count in total.items() if count} == {Kind.REJECTED: 1, Kind.DUPLICATE: 1}


def test_counts_wait_while_the_database_is_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    running = start()
    running.counts.add(Kind.ADDRESS, "192.0.2.1")

    def fail(**_: object) -> None:
        raise DatabaseAway("away")

    monkeypatch.setattr(running.ledger, "transaction", fail)
    with pytest.raises(DatabaseAway):
        running.counts.write(running.ledger)
    monkeypatch.undo()
    running.counts.write(running.ledger)
    with running.ledger.reading() as session:
        assert totals(session)[Kind.ADDRESS] == 1


def test_planted_name_stands_only_in_the_originals(
    start: Start, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of an object that is scored, of one that is refused, and of one that breaks off."""
    monkeypatch.setattr(config.settings, "_writing_validation_mode", config.IGNORE)
    running = start(dicom_calling="PEER")
    objects = []
    for seed, but in ((1, NEEDED), (2, NEEDED - {"BodyPartExamined"})):
        made = grey_object(phantom_values(seed=seed))
        made.BodyPartExamined = "CHEST"
        plant(made, but)
        objects.append(without_meta(made))
    assert send(running, *objects, objects[0][:-5000]) == [0, REFUSED, REFUSED]
    running.counts.write(running.ledger)
    for receipt in running.receipts():
        assert NAME not in f"{receipt.original_name} {receipt.reason} {receipt.received_by}"
    said = capfd.readouterr()
    assert NAME not in said.out + said.err
    running.ledger.close()
    assert files_with_the_name(running.settings.data) == []
