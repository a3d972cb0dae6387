"""worker.ledger.trail: events and accesses together, page by page."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.filling import AT, fill, known_reader, later, score
from tests.unit.ledger.test_audit import do_harm
from worker.ledger import accesses, audit, review, sign_ins, trail
from worker.ledger.accesses import Access, AccessKind
from worker.ledger.audit_codes import MEANINGS, meaning
from worker.ledger.findings import Finding, Statement
from worker.ledger.session import Ledger
from worker.ledger.sign_ins import Failure, Method
from worker.ledger.trail import Entry, TrailCursor, TrailFilter


def access(ledger: Ledger, at: datetime, image_id: int | None = None, actor: str = "user:1") -> None:
    kind = AccessKind.VIEW if image_id else AccessKind.SEARCH
    with ledger.transaction() as session:
        accesses.record(session, Access(kind, actor, image_id), at)


@pytest.fixture
def morning(ledger: Ledger) -> Ledger:
    """Return a ledger with two scored images; user 1 lists them, views and reads image 1; user 2 views image 2."""
    ids = fill(ledger, 1, 2)
    score(ledger, ids)
    reader = known_reader(ledger)
    access(ledger, later(10))
    access(ledger, later(20), 1)
    with ledger.transaction() as session:
        review.decide(session, 1, reader_id=reader, statement=Statement(Finding.SIGNS), at=later(30))
    access(ledger, later(40), 2, "user:2")
    return ledger


def all_pages(ledger: Ledger, wanted: TrailFilter, size: int) -> list[Entry]:
    found: list[Entry] = []
    below: TrailCursor | None = TrailCursor()
    with ledger.reading() as session:
        while below is not None:
            page = trail.page(session, wanted, below, size)
            assert len(page.entries) <= size
            found += page.entries
            below = page.next
    return found


def kinds(entries: list[Entry]) -> list[str]:
    return [entry.kind for entry in entries]


def test_pages_have_every_entry_once_and_the_latest_first(morning: Ledger) -> None:
    whole = all_pages(morning, TrailFilter(), 100)
    assert kinds(whole)[:4] == ["view", "read", "view", "search"]
    for size in (1, 2, 3):
        assert all_pages(morning, TrailFilter(), size) == whole
    assert list(trail.entries(morning, TrailFilter())) == whole


def test_clock_that_was_set_back_hides_no_entry(morning: Ledger) -> None:
    with morning.transaction() as session:
        audit.append(session, [audit.Event("retried", "user:1", "image:1", {})], AT - timedelta(hours=1))
    access(morning, AT - timedelta(hours=2), 1)
    whole = all_pages(morning, TrailFilter(), 100)
    assert sorted(map(repr, all_pages(morning, TrailFilter(), 2))) == sorted(map(repr, whole))


def test_story_of_an_image_has_its_events_and_accesses(morning: Ledger) -> None:
    story = all_pages(morning, TrailFilter(image_id=1), 2)
    assert kinds(story) == ["read", "view", "scored", "received"]
    assert {entry.image_id for entry in story} == {1}


def test_filters_choose_actor_kind_and_time(morning: Ledger) -> None:
    assert kinds(all_pages(morning, TrailFilter(actor="user:1"), 2)) == [
        "read",
        "view",
        "search",
    ]
    assert kinds(all_pages(morning, TrailFilter(actor="nightread", kind="scored"), 1)) == ["scored", "scored"]
    assert [entry.image_id for entry in all_pages(morning, TrailFilter(kind="view"), 1)] == [2, 1]
    assert kinds(all_pages(morning, TrailFilter(kind="read"), 1)) == ["read"]
    assert all_pages(morning, TrailFilter(actor="user:2", kind="read"), 1) == []
    between = TrailFilter(since=later(20), until=later(40))
    assert kinds(all_pages(morning, between, 1)) == ["read", "view"]


def test_filter_of_days_holds_the_whole_last_day() -> None:
    wanted = trail.days_filter(None, None, None, datetime(2026, 3, 1), datetime(2026, 3, 1))  # noqa: DTZ001
    assert wanted.since == AT.replace(hour=0)
    assert wanted.until == AT.replace(day=2, hour=0)


@pytest.mark.parametrize("text", ["", "1", "1_", "a_b", "-1_2", "1_99999999999999999999", "1_2_3"])
def test_cursor_that_nobody_wrote_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="`below` must be"):
        TrailCursor.parse(text)
    assert TrailCursor.parse(str(TrailCursor(3, 4))) == TrailCursor(3, 4)


def test_last_verification_says_who_and_how_it_ended(ledger: Ledger) -> None:
    with ledger.reading() as session:
        assert trail.last_verification(session) is None
    for actor, ok in (("os:0", True), ("os:5", False)):
        with ledger.transaction() as session:
            audit.append(session, [audit.Event("trail_verified", actor, "trail", {"ok": ok})], AT)
    with ledger.reading() as session:
        assert trail.last_verification(session) == trail.LastVerification(AT, "os:5", ok=False)


@pytest.mark.parametrize(("asked_in", "asked_by"), [(1, "user:3"), (2, None), (9, None)])
def test_last_verification_names_who_asked_for_it(
    ledger: Ledger, asked_in: int, asked_by: str | None
) -> None:
    with ledger.transaction() as session:
        audit.append(session, [audit.Event("trail_verification_started", "user:3", "trail", {})], AT)
        audit.append(session, [audit.Event("token_revoked", "user:4", "api_token:1", {})], AT)
        details = {"ok": True, "asked_in": asked_in}
        audit.append(session, [audit.Event("trail_verified", "os:0", "trail", details)], AT)
    with ledger.reading() as session:
        last = trail.LastVerification(AT, "os:0", ok=True, asked_by=asked_by)
        assert trail.last_verification(session) == last


def test_each_kind_of_access_has_a_meaning_with_a_code() -> None:
    assert [kind for kind in AccessKind if MEANINGS[kind].event is None] == []
    assert meaning("a_kind_of_a_later_version").words == "A kind of a later version"


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE audit_event SET payload = 'not JSON' WHERE seq = 2",
        "UPDATE audit_event SET payload = '5' WHERE seq = 2",
        """UPDATE audit_event SET payload = '["method"]' WHERE seq = 2""",
    ],
)
def test_failed_sign_in_that_was_changed_hides_nothing(ledger: Ledger, harm: str) -> None:
    with ledger.transaction() as session:
        sign_ins.record_failure(session, None, Method.PASSKEY, Failure.WRONG_PASSKEY, AT)
        sign_ins.record_failure(session, None, Method.TOTP, Failure.WRONG_CODE, AT)
    do_harm(ledger, harm)
    with ledger.reading() as session:
        entries = trail.page(session, TrailFilter()).entries
    assert [entry.code for entry in entries] == ["", "passkey:wrong_passkey"]
