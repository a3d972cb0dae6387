from __future__ import annotations

from sqlalchemy import update

from tests.filling import (
    AT,
    NOT_AN_IMAGE,
    arrival,
    counted,
    fill,
    known_model,
    later,
    lease_images,
    receive,
    record,
    result,
    score,
)
from worker.ledger import heartbeats, reports
from worker.ledger.predictions import RejectionRecord
from worker.ledger.session import Ledger
from worker.ledger.status import status_document
from worker.ledger.tables import Image

# The published keys, which other programs rely on.
STATUS = {
    "received", "duplicates", "images", "scored", "rejected", "quarantined", "pending", "leased", "flagged",
    "balanced", "images_per_s", "eta_s", "processes",
}  # fmt: skip


def test_file_count_covers_every_file_and_state(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3, 4, 5)
    fill(ledger, 5)
    with ledger.transaction() as session:
        receive(session, arrival(6, rejection=NOT_AN_IMAGE))
    lease_images(ledger, ids[:4])
    record(
        ledger,
        known_model(ledger),
        [result(ids[0], 0.9), result(ids[1], 0.5), result(ids[2], 0.1)],
        [],
    )
    counts = counted(ledger)
    assert counts.balanced
    assert (counts.received, counts.duplicates, counts.images) == (7, 1, 6)
    assert (counts.scored, counts.rejected, counts.quarantined, counts.pending, counts.leased) == (
        3,
        1,
        0,
        1,
        1,
    )
    assert (counts.flagged, counts.uncertain, counts.unread) == (2, 1, 2)
    assert counts.equation == (
        "7 received = 1 duplicates + 3 scored + 1 rejected + 0 quarantined + 1 pending + 1 being scored"
    )


def test_lost_image_is_unbalanced(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2)
    assert counted(ledger).balanced
    with ledger.transaction() as session:
        session.execute(update(Image).where(Image.id == ids[0]).values(state="lost"))
    assert not counted(ledger).balanced


def test_status_document_has_its_published_keys(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3)
    score(ledger, ids[:2])
    with ledger.transaction() as session:
        heartbeats.record_heartbeat(session, "watch", period_s=5, at=AT)
    with ledger.reading() as session:
        document = status_document(session, later(2))
    assert set(document) >= STATUS
    assert document["balanced"] is True
    # Two images were scored from 0 s to now, at 2 s; one image is pending.
    assert (document["images_per_s"], document["eta_s"]) == (1.0, 1.0)
    (process,) = document["processes"]
    keys = {"name": "watch", "host": "", "heartbeat_age_s": 2.0, "ok": True, "silent": False, "trouble": None}
    assert {**process, "host": ""} == {**keys, "scoring": ()}


def test_eta_is_null_without_a_rate(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert status_document(session, AT)["eta_s"] == 0
    ids = fill(ledger, 1, 2)
    score(ledger, ids[:1])
    with ledger.reading() as session:
        document = status_document(session, later(300))
    assert document["images_per_s"] == 0
    assert document["eta_s"] is None, "an image is pending and none is being scored"


def test_run_figures_list_flagged_rejected_and_slowest_images(ledger: Ledger) -> None:
    ids = fill(ledger, 1, 2, 3, 4, run="monday")
    other = fill(ledger, 9, run="tuesday")
    lease_images(ledger, ids + other)
    scores = [result(ids[0], 0.5), result(ids[1], 0.9), result(ids[2], 0.1), result(other[0])]
    record(ledger, known_model(ledger), scores, [RejectionRecord(ids[3], "blank", "Nothing.")])
    with ledger.reading() as session:
        run = reports.find_run(session, "monday")
        assert run is not None
        morning = reports.run_figures(session, run)
    assert [row.id for row in morning.flagged] == [ids[1], ids[0]]
    assert [row.id for row in morning.rejected] == [ids[3]]
    assert sorted(row.id for row in morning.slowest) == ids[:3]
    assert (morning.run.file_counts.received, morning.run.file_counts.balanced) == (4, True)
    assert morning.run.first_scored_at == morning.run.last_scored_at == later(1)


def test_find_run_without_a_name_returns_the_latest(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert reports.find_run(session, None) is None
    fill(ledger, 1, run="monday")
    fill(ledger, 2, run="tuesday")
    fill(ledger, 3, run="monday")
    with ledger.reading() as session:
        assert (run := reports.find_run(session, None)) is not None
        assert run.name == "tuesday"
        assert reports.find_run(session, "sunday") is None
        assert list(reports.run_names(session).values()) == ["tuesday", "monday"]
        listed = reports.runs(session, size=1)
        assert [summary.file_counts.received for _, summary in listed] == [1]
        older = reports.runs(session, before=listed[-1][0].id)
        assert [summary.name for _, summary in older] == ["monday"]


def test_rejected_images_are_paged_from_the_latest(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        rows = receive(session, *(arrival(n, rejection=NOT_AN_IMAGE) for n in range(5)))
    ids = [row.image_id for row in rows if row]
    with ledger.reading() as session:
        first = [row.id for row in reports.rejected_images(session, size=3)]
        rest = [row.id for row in reports.rejected_images(session, before=first[-1], size=3)]
    assert first + rest == ids[::-1]


def test_receipts_come_with_their_images(ledger: Ledger) -> None:
    with ledger.transaction() as session:
        rows = receive(session, arrival(1), arrival(1))
    with ledger.reading() as session:
        listed = reports.receipts(session, [row.receipt_id for row in rows if row])
    assert [(row.outcome, row.image.state) for row in listed] == [
        ("new", "pending"),
        ("duplicate", "pending"),
    ]
