"""worker.receiving against peers that break the rules. pynetdicom alone withstands none of these, so each limit is ours."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

import pytest

from tests.conftest import wait_for
from tests.integration.receiving.peers import (
    ABORT,
    ACCEPTED,
    COMMAND,
    CROWDED,
    DATA,
    LAST,
    REJECTED,
    REQUEST,
    Peer,
    Running,
    Start,
    command,
    echo,
    fragment,
    pdu,
    request,
    store,
)
from worker.ledger.receiver_tallies import Kind
from worker.receiving import messages, server
from worker.receiving.connection import LONGEST_REQUEST

SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000


def answers(running: Running) -> bool:
    """Return whether a well-behaved peer gets an answer to a C-ECHO."""
    peer = Peer(running.port)
    try:
        if peer.associate() != ACCEPTED:
            return False
        peer.send(echo())
        return peer.status() == SUCCESS
    finally:
        peer.close()


def test_request_for_four_gigabytes_ends_the_connection(start: Start) -> None:
    running = start()
    peer = Peer(running.port)
    peer.send(pdu(REQUEST, request()[6:], length=2**32 - 1))
    assert peer.ends()
    assert running.counted(Kind.TOO_LONG) == 1
    assert answers(running)


@pytest.mark.parametrize(
    ("most", "sent", "taken"),
    [(16_384, LONGEST_REQUEST, 1), (262_144, 262_144, 1), (16_384, LONGEST_REQUEST + 1, 0)],
)
def test_pdu_may_be_as_long_as_the_setting_or_a_request(
    start: Start, most: int, sent: int, taken: int
) -> None:
    running = start(dicom_pdu_bytes=most)
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store() + fragment(LAST, bytes(sent - 6)))
    assert (peer.status() == CANNOT_UNDERSTAND) is bool(taken)
    assert running.counted(Kind.TOO_LONG) == 1 - taken
    assert len(running.receipts()) == taken


@pytest.mark.parametrize(
    "part", [request()[:3], request()[:-1], b""], ids=["half a header", "half a body", "nothing"]
)
def test_peer_that_stops_loses_its_place(start: Start, part: bytes) -> None:
    running = start(dicom_silence_s=1.0, dicom_associations=1)
    silent = Peer(running.port)
    silent.send(part)
    wait_for(lambda: bool(running.receiver._taken), "the place to be taken")
    crowded = Peer(running.port)
    assert crowded.associate() == REJECTED
    wait_for(lambda: answers(running), "the place to be free again")
    assert silent.ends()


def test_established_peer_that_stops_in_a_pdu_loses_its_place(start: Start) -> None:
    running = start(dicom_silence_s=1.0, dicom_associations=1)
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store() + fragment(LAST, bytes(1000))[:500])
    assert peer.ends()
    running.wait_until_free()
    assert running.left_in_spool() == []
    assert running.counted(Kind.TOO_SLOW) == 1


def test_silent_association_is_ended(start: Start) -> None:
    running = start(dicom_silence_s=1.0)
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    assert peer.answer()[0] == ABORT
    running.wait_until_free()


def test_peers_that_leave_at_once_keep_no_place(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    # As shipped, each of them keeps its place until the time for a request is over.
    monkeypatch.setattr(server, "_GREETING_S", 10_000.0)
    running = start(dicom_associations=2, dicom_silence_s=10_000.0)
    for _ in range(20):
        Peer(running.port).close()
    wait_for(lambda: answers(running), "a free place")


def test_address_that_is_not_on_the_list_is_closed_before_a_byte_is_read(start: Start) -> None:
    running = start(dicom_addresses="127.0.0.1, 192.0.2.0/24")
    stranger = Peer(running.port, "127.0.0.2")
    assert stranger.ends()
    assert running.counted(Kind.ADDRESS) == 1
    assert answers(running)


def test_without_a_list_this_machine_may_send(start: Start) -> None:
    running = start()
    assert [Peer(running.port, address).associate() for address in ("127.0.0.1", "127.9.9.9")] == [
        ACCEPTED
    ] * 2


def test_associations_are_limited_in_all_and_for_each_address(start: Start) -> None:
    running = start(dicom_associations=3, dicom_associations_per_address=2)
    first = [Peer(running.port) for _ in range(2)]
    assert [peer.associate() for peer in first] == [ACCEPTED] * 2
    third = Peer(running.port)
    third.send(request())
    kind, body = third.answer()
    assert (kind, tuple(body[1:4])) == (REJECTED, CROWDED)
    other = Peer(running.port, "127.0.0.2")
    assert other.associate() == ACCEPTED
    assert Peer(running.port, "127.0.0.3").associate() == REJECTED
    first[0].close()
    wait_for(lambda: answers(running), "the place of the one that left")


def test_crowd_beyond_the_limit_is_closed_without_an_answer(start: Start) -> None:
    running = start(dicom_associations=1)
    crowd = [Peer(running.port) for _ in range(12)]
    assert [peer.ends() for peer in crowd[-3:]] == [True] * 3
    assert len(running.receiver._taken) <= 9
    assert running.counted(Kind.CROWDED) >= 3


@pytest.mark.parametrize(
    ("called", "calling", "reason", "kind"),
    [("OTHER", "PEER", 7, Kind.CALLED_TITLE), ("NIGHTREAD", "STRANGER", 3, Kind.CALLING_TITLE)],
)
def test_unknown_ae_title_is_rejected(
    start: Start, called: str, calling: str, reason: int, kind: Kind
) -> None:
    running = start(dicom_calling="PEER, CT_1")
    stranger = Peer(running.port)
    stranger.send(request(called, calling))
    answer, body = stranger.answer()
    assert (answer, tuple(body[1:4])) == (REJECTED, (1, 1, reason))
    wait_for(lambda: running.counted(kind) == 1, "the count")
    assert answers(running)


def test_object_that_is_too_large_is_cut_off_on_the_disk_and_rejected(start: Start) -> None:
    running = start(max_bytes=50_000)
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store())
    for _ in range(50):
        peer.send(fragment(0, bytes(16_000)))
        assert sum(path.stat().st_size for path in running.left_in_spool()) <= 50_001
    peer.send(fragment(LAST, b""))
    assert peer.status() == CANNOT_UNDERSTAND
    [receipt] = running.receipts()
    assert (receipt.outcome, receipt.reason_code, receipt.bytes) == ("rejected", "too_many_bytes", 50_001)
    wait_for(lambda: running.left_in_spool() == [], "the file to be gone")


def test_object_without_end_ends_the_association(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_MOST_DROPPED", 100_000)
    running = start(max_bytes=50_000)
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store() + fragment(0, bytes(16_000)) * 20)
    assert peer.ends()
    running.wait_until_free()
    assert (running.receipts(), running.left_in_spool()) == ([], [])
    assert running.counted(Kind.TOO_LONG) == 1


def test_object_that_trickles_in_ends_the_association(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(messages, "_MESSAGE_S", 0.5)
    running = start()
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(store())

    def is_ended() -> bool:
        peer.send(fragment(0, b"x"))
        return running.counted(Kind.TOO_SLOW) == 1

    wait_for(is_ended, "the end of patience")
    assert peer.ends()
    running.wait_until_free()
    assert running.left_in_spool() == []


LONG = command(0x0001, has_object=True, MoveOriginatorApplicationEntityTitle="A" * 16) + bytes(20_000)
N_EVENT_REPORT = command(0x0100, has_object=False)
C_FIND = command(0x0020, has_object=True)
BROKEN: dict[str, Callable[[], bytes]] = {
    "a command that is too long": lambda: (
        fragment(COMMAND, LONG[:12_000]) + fragment(COMMAND | LAST, LONG[:12_000])
    ),
    "a second message before the answer": lambda: echo() * 50,
    "another kind of request": lambda: fragment(COMMAND | LAST, C_FIND),
    "an event report, for which pynetdicom starts a thread": lambda: fragment(COMMAND | LAST, N_EVENT_REPORT),
    "an object without a command": lambda: fragment(LAST, b"x"),
    "an object in another context": lambda: store() + fragment(LAST, b"x", context=1),
    "an object in a context that is not there": lambda: fragment(
        COMMAND | LAST, command(0x0001, has_object=True), 99
    ),
    "a command inside an object": lambda: store() + store(),
    "a fragment without a byte": lambda: pdu(DATA, struct.pack(">IB", 1, 3)),
    "a fragment longer than its PDU": lambda: pdu(DATA, struct.pack(">IBB", 5_000, 3, 3)),
    "a command that is no data set": lambda: fragment(COMMAND | LAST, random.Random(1).randbytes(500)),
    "a C-ECHO with an object": lambda: fragment(COMMAND | LAST, command(0x0030, has_object=True)),
    "a C-STORE without an object": lambda: fragment(COMMAND | LAST, command(0x0001, has_object=False)),
    "an object without a UID": lambda: fragment(
        COMMAND | LAST, command(0x0001, has_object=True, instance="")
    ),
    "an object with two UIDs": lambda: fragment(
        COMMAND | LAST, command(0x0001, has_object=True, AffectedSOPInstanceUID=["1.2", "1.3"])
    ),
    "a second request for an association": request,
    "a PDU of an unknown type": lambda: pdu(99, b"x"),
    "sequences in sequences": lambda: fragment(
        COMMAND | LAST, b"\x08\x00\x40\x11\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 1_000
    ),
}


# pynetdicom notices these itself.
NOTICED = {
    "a fragment without a byte",
    "a fragment longer than its PDU",
    "a second request for an association",
    "a PDU of an unknown type",
}


# pynetdicom's thread ends with an error when an answer and an abort cross.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("kind", BROKEN)
def test_broken_message_ends_the_association(start: Start, kind: str) -> None:
    running = start(dicom_silence_s=2.0)
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    peer.send(BROKEN[kind]())
    assert peer.ends()
    running.wait_until_free()
    assert kind in NOTICED or running.counted(Kind.MALFORMED) + running.counted(Kind.TOO_LONG) == 1
    assert (running.receipts(), running.left_in_spool()) == ([], [])
    wait_for(lambda: answers(running), "an answer")


@pytest.mark.parametrize("before", [b"", request()[6:]])
def test_noise_disturbs_nobody_else(start: Start, before: bytes) -> None:
    running = start(dicom_silence_s=1.0)
    noise = random.Random(7)
    for length in (1, 5, 6, 7, 80, 3_000):
        for kind in range(9):
            peer = Peer(running.port)
            peer.send(pdu(kind, before + noise.randbytes(length)))
            peer.close()
    # Until then, the connections that are still to be accepted may take every place.
    wait_for(lambda: answers(running), "an answer")


def test_request_with_thousands_of_contexts_is_answered(start: Start) -> None:
    running = start(dicom_silence_s=60.0)
    many = request(contexts=[(2 * (number % 128) + 1, "1.2.3") for number in range(2_000)])
    assert len(many) < LONGEST_REQUEST
    peer = Peer(running.port)
    peer.send(many)
    assert peer.answer()[0] in {ACCEPTED, ABORT, 0}
    assert answers(running)


def test_uid_never_becomes_a_path_or_a_name(start: Start) -> None:
    running = start()
    peer = Peer(running.port)
    assert peer.associate() == ACCEPTED
    for number, name in enumerate(("../../../tmp/x", "DOE^JOHN", "1.2.3.4")):
        peer.send(store(instance=name) + fragment(LAST, bytes([number] * 10)))
        assert peer.status() == CANNOT_UNDERSTAND
    assert [receipt.original_name for receipt in running.receipts()] == [
        "object.dcm",
        "object.dcm",
        "1.2.3.4.dcm",
    ]
    assert running.left_in_spool() == []
