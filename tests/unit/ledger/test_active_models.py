"""Which model is active, which bundles the workers have, and what a candidate scores in the background."""

from __future__ import annotations

import json
from datetime import datetime

import pytest
from sqlalchemy import select, text, update

from tests.cards import a_card
from tests.filling import (
    AT,
    assert_consistent,
    fill,
    known_model,
    known_reader,
    later,
    score,
)
from worker.ledger import (
    active_models,
    bundles,
    comparison,
    model_choice,
    models,
    models_overview,
    review,
    shadows,
)
from worker.ledger.bundles import FoundBundle, KnownBundles
from worker.ledger.findings import Finding, Statement
from worker.ledger.session import Ledger
from worker.ledger.shadows import Page, ShadowRecord
from worker.ledger.tables import AuditEvent, Image, Process, ShadowPrediction

A, B = "a" * 64, "b" * 64


def bundle(sha256: str = B, name: str = "other", problem: str | None = None) -> FoundBundle:
    return FoundBundle(f"/models/{name}", name, "2.0.0", sha256, a_card(), problem)


def start_worker(
    ledger: Ledger, host: str, *found: FoundBundle, at: datetime = AT, period_s: float = 1e6
) -> None:
    """Record the heartbeat of a worker on a host, and what it has found there."""
    with ledger.transaction() as session:
        row = Process(
            name="worker", host=host, pid=1, started_at=at, beat_at=at, period_s=period_s, trouble=None
        )
        session.add(row)
        session.flush()
        bundles.report(session, host, found, at)


def known_bundles(ledger: Ledger) -> KnownBundles:
    with ledger.reading() as session:
        return bundles.known(session, AT)


def activate(ledger: Ledger, name: str, why: str = "it is better") -> None:
    known = known_bundles(ledger)
    with ledger.transaction() as session:
        model_choice.activate(session, known, name, who="user:1", why=why, at=AT)


def active_sha256(ledger: Ledger) -> str | None:
    with ledger.reading() as session:
        model = models.active_model(session)
        return model.sha256 if model else None


def events(ledger: Ledger, kind: str) -> list[dict[str, object]]:
    with ledger.reading() as session:
        rows = session.scalars(select(AuditEvent).where(AuditEvent.kind == kind).order_by(AuditEvent.seq))
        return [json.loads(row.payload) for row in rows]


def test_active_model_is_on_record_with_who_and_why(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1])
    start_worker(ledger, "one", bundle())
    activate(ledger, "other-2.0.0")
    assert active_sha256(ledger) == B
    with ledger.reading() as session:
        (change,) = active_models.history(session, limit=9)
    assert (change.title, change.set_by, change.why, change.at) == (
        "other 2.0.0",
        "user:1",
        "it is better",
        AT,
    )
    (event,) = events(ledger, "model_activated")
    assert (event["model"], event["model_before"]) == (B, None)
    assert "it is better" not in json.dumps(event)
    assert_consistent(ledger)


def test_former_model_is_active_again_and_scores_stay(ledger: Ledger) -> None:
    fill(ledger, 1)
    score(ledger, [1])
    former = active_sha256(ledger)
    assert former is not None
    start_worker(ledger, "one", bundle(), bundle(former, "former"))
    activate(ledger, "other-2.0.0")
    activate(ledger, "former", why="it was not")
    assert active_sha256(ledger) == former
    with ledger.reading() as session:
        assert [change.model_sha256 for change in active_models.history(session, limit=9)] == [former, B]
        (model,) = [one for one in models.registered_models(session) if one.is_active]
        assert model.scored == 1
    assert_consistent(ledger)


@pytest.mark.parametrize(
    ("name", "why", "refusal"),
    [
        ("other-2.0.0", "  ", "needs a reason"),
        ("broken", "x", "on two, the model cannot be used: no network"),
        ("lacking", "x", "the worker on two does not have the model lacking 2.0.0"),
    ],
)
def test_model_that_a_worker_cannot_use_is_refused(ledger: Ledger, name: str, why: str, refusal: str) -> None:
    start_worker(ledger, "one", bundle(), bundle("c" * 64, "broken"), bundle("d" * 64, "lacking"))
    start_worker(ledger, "two", bundle(), bundle("c" * 64, "broken", "no network"))
    with pytest.raises(ValueError, match=refusal):
        activate(ledger, name, why)
    assert active_sha256(ledger) is None
    assert events(ledger, "model_registered") == []


def test_worker_that_no_longer_runs_is_no_obstacle(ledger: Ledger) -> None:
    start_worker(ledger, "gone", period_s=0.001, at=later(-60))
    start_worker(ledger, "one", bundle())
    activate(ledger, "other")
    assert active_sha256(ledger) == B


def test_worker_that_has_not_said_what_it_has_is_an_obstacle(ledger: Ledger) -> None:
    start_worker(ledger, "one", bundle())
    start_worker(ledger, "two")
    with pytest.raises(ValueError, match="the worker on two has not said yet which models it has"):
        activate(ledger, "other")


def test_active_model_cannot_be_made_active_again(ledger: Ledger) -> None:
    start_worker(ledger, "one", bundle())
    activate(ledger, "other")
    with pytest.raises(ValueError, match="already active"):
        activate(ledger, "other")


def test_names_that_fit_none_or_several_models_are_refused(ledger: Ledger) -> None:
    start_worker(ledger, "one", bundle("c" * 64), bundle("d" * 64))
    with pytest.raises(LookupError, match=r"there is no model nowhere here; there are: other-2\.0\.0"):
        activate(ledger, "nowhere")
    with pytest.raises(LookupError, match="several models are called other"):
        activate(ledger, "other")
    activate(ledger, "cccccccc")
    assert active_sha256(ledger) == "c" * 64


def test_page_without_any_worker_refuses(ledger: Ledger) -> None:
    known_model(ledger, A)
    with pytest.raises(ValueError, match="no worker is running"):
        activate(ledger, A)


def test_bundles_of_hosts_without_a_worker_are_forgotten(ledger: Ledger) -> None:
    start_worker(ledger, "one", bundle())
    with ledger.transaction() as session:
        session.execute(text("DELETE FROM process"))
    start_worker(ledger, "two", bundle("c" * 64))
    with ledger.reading() as session:
        hosts = session.scalars(text("SELECT host FROM bundle")).all()
    assert hosts == ["two"]


@pytest.mark.parametrize("column", ["why", "set_by", "value", "name"])
def test_changed_row_of_an_activation_is_found(ledger: Ledger, column: str) -> None:
    start_worker(ledger, "one", bundle())
    activate(ledger, "other")
    other = "'{}'" if column == "value" else "'other'"
    with ledger.transaction() as session:
        session.execute(text(f"UPDATE site_setting SET {column} = {other}"))  # noqa: S608 - a column of this test
    with ledger.reading() as session:
        assert [one.what for one in comparison.compare(session).mismatches] == [column]


def shadow(ledger: Ledger, name: str | None = "other", at: datetime = AT, **bounds: object) -> None:
    known = known_bundles(ledger)
    with ledger.transaction() as session:
        model_choice.shadow(session, known, name, who="user:1", why="a trial", at=at, **bounds)  # type: ignore[arg-type]


def next_page(ledger: Ledger, size: int = 2, at: datetime = AT) -> Page | None:
    with ledger.transaction() as session:
        return shadows.next_page(session, size=size, lease_s=60, at=at)


def finish(ledger: Ledger, page: Page) -> int:
    results = [ShadowRecord(image.id, "scored", 0.1, 0.7, 0.2, 0.9) for image in page.images]
    with ledger.transaction() as session:
        return shadows.finish(session, page, results, {"nightread": "1"}, AT)


@pytest.fixture
def site(ledger: Ledger) -> Ledger:
    """Return a ledger with five scored images, of which a person has read the first two, and a candidate."""
    fill(ledger, 1, 2, 3, 4, 5)
    score(ledger, [1, 2, 3, 4, 5])
    reader = known_reader(ledger)
    for number in (1, 2):
        with ledger.transaction() as session:
            review.decide(session, number, reader_id=reader, statement=Statement(Finding.SIGNS), at=AT)
    start_worker(ledger, "one", bundle())
    shadow(ledger)
    return ledger


def test_candidate_looks_at_read_images_first_and_at_each_once(site: Ledger) -> None:
    pages = []
    while (page := next_page(site)) is not None:
        pages.append({image.id for image in page.images})
        assert finish(site, page) == len(page.images)
    assert pages == [{1, 2}, {4, 5}, {3}]
    with site.reading() as session:
        found = shadows.in_force(session)
        assert found is not None
        assert shadows.progress(session, found) == shadows.Progress(done=5, left=0)
        assert not shadows.is_due(session, lease_s=60, at=AT)
    assert_consistent(site)


@pytest.mark.parametrize("numbers", [[], [1, 2]])
def test_candidate_that_was_registered_last_is_not_in_use(ledger: Ledger, numbers: list[int]) -> None:
    former = known_model(ledger, A).model_sha256
    if numbers:
        score(ledger, fill(ledger, *numbers))
        former = active_sha256(ledger) or ""
    start_worker(ledger, "one", bundle())
    shadow(ledger, at=later(3600))
    assert active_sha256(ledger) == former


def test_candidate_is_not_in_use_and_changes_no_tally(site: Ledger) -> None:
    before = active_sha256(site)
    page = next_page(site, size=9)
    assert page is not None
    finish(site, page)
    assert active_sha256(site) == before != B
    with site.reading() as session:
        scored = {one.model.sha256: one.scored for one in models.registered_models(session)}
    assert scored == {before: 5, B: 0}


def test_only_the_latest_images_since_a_day_are_looked_at(site: Ledger) -> None:
    shadow(site, images=2)
    page = next_page(site, size=9)
    assert page is not None
    assert {image.id for image in page.images} == {4, 5}
    finish(site, page)
    assert next_page(site, size=9) is None
    with site.transaction() as session:
        session.execute(update(Image).values(received_at=later(-3600)))
    shadow(site, images=9, since=later(-1800))
    assert next_page(site, size=9) is None


def test_page_in_work_is_given_to_nobody_else_until_its_time_is_over(site: Ledger) -> None:
    first = next_page(site, size=16)
    assert first is not None
    with site.reading() as session:
        assert not shadows.is_due(session, lease_s=60, at=later(59))
        assert shadows.is_due(session, lease_s=60, at=later(61))
    assert next_page(site, at=later(59)) is None
    again = next_page(site, size=16, at=later(61))
    assert again is not None
    # The worker that had five images died; the next one begins with two, and its attempt counts.
    assert (len(again.images), again.attempts) == (2, 2)
    assert finish(site, again) == 2
    # The first worker was only slow.
    assert finish(site, first) == 3


def test_page_that_is_given_back_counts_no_attempt(site: Ledger) -> None:
    page = next_page(site, size=16)
    assert page is not None
    with site.transaction() as session:
        shadows.give_back(session, page)
    again = next_page(site, size=16)
    assert again is not None
    assert (len(again.images), again.attempts) == (5, 1)


def test_image_that_lost_its_score_gets_no_shadow_prediction(site: Ledger) -> None:
    page = next_page(site, size=9)
    assert page is not None
    with site.transaction() as session:
        session.execute(text("UPDATE image SET state = 'rejected' WHERE id = 4"))
    assert finish(site, page) == 4


def test_shadow_scoring_ends_and_what_was_scored_stays(site: Ledger) -> None:
    page = next_page(site, size=9)
    assert page is not None
    finish(site, page)
    shadow(site, None)
    assert next_page(site) is None
    with site.reading() as session:
        assert len(session.scalars(select(ShadowPrediction)).all()) == 5
        assert models_overview.overview(session, AT).shadow is None
    assert [event["model"] for event in events(site, "shadow_set")] == [B, None]
    assert_consistent(site)
    with pytest.raises(ValueError, match="already"):
        shadow(site, None)


def test_active_model_is_no_candidate(site: Ledger) -> None:
    activate(site, "other")
    with pytest.raises(ValueError, match="this is the active model"):
        shadow(site, images=9)


@pytest.mark.parametrize("images", [0, shadows.MOST_IMAGES + 1])
def test_number_of_images_is_bounded(site: Ledger, images: int) -> None:
    with pytest.raises(ValueError, match="the number of images must be from 1 to 20,000"):
        shadow(site, images=images)


def test_worker_that_lacks_the_candidate_is_told(site: Ledger) -> None:
    start_worker(site, "three", bundle("c" * 64))
    with site.reading() as session:
        found = models_overview.troubles(session, AT)
    assert [sentence.split(" cannot")[0] for sentence in found] == ["The worker on three"]


def test_overview_lists_active_model_candidate_and_further_bundles(site: Ledger) -> None:
    with site.reading() as session:
        here = [bundle("e" * 64, "local"), FoundBundle("/models/x", "x", "", problem="x has no card.json.")]
        shown = models_overview.overview(session, AT, here)
    found = {model.name: model for model in shown.models}
    assert shown.active is not None
    assert shown.active.sha256 == active_sha256(site)
    assert found["other"].is_candidate
    assert found["local"].registered_at is None
    assert found["x"].obstacle == "x has no card.json."
    assert found["local"].missing_on == ["one"]
