"""What the monitor shows: periods, groups, what is hidden, and what the card expects."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.cards import a_card
from tests.filling import fill, follow, known_model, known_reader, lease_images, record, result
from tests.monitored import everything, keep_days, some, yesterday
from worker.card.reading import read_card
from worker.ledger.monitor_counts import NO_MODEL, Group
from worker.ledger.monitored_groups import Dimension
from worker.ledger.protocols import Protocol, Shown
from worker.ledger.session import Ledger
from worker.monitor.counts import BINS, Counts, FindingCounts
from worker.report.monitor_figures import (
    Asked,
    MonitorFigures,
    Period,
    expected_scores,
    monitor_figures,
)
from worker.report.monitor_formats import COLUMNS, TABLES, as_csv, as_json

BLIND = Protocol(score=Shown.AFTER_DECISION)


def figures(
    ledger: Ledger, asked: Asked | None = None, *, names: bool = True, person: bool = True
) -> MonitorFigures:
    with ledger.reading() as session:
        return monitor_figures(session, asked or Asked(Period.DAY), names=names, person=person)


@pytest.fixture
def model_id(ledger: Ledger) -> int:
    return known_model(ledger).model_id


@pytest.mark.parametrize(
    ("period", "day", "first", "before"),
    [
        (Period.DAY, "2026-03-01", "2026-03-01", "2026-02-28"),
        (Period.WEEK, "2026-03-01", "2026-02-23", "2026-02-16"),
        (Period.WEEK, "2026-03-02", "2026-03-02", "2026-02-23"),
        (Period.MONTH, "2026-03-31", "2026-03-01", "2026-02-01"),
    ],
)
def test_periods_begin_on_their_first_day(period: Period, day: str, first: str, before: str) -> None:
    begins = period.first_of(date.fromisoformat(day))
    assert (begins.isoformat(), period.before(begins).isoformat()) == (first, before)


def test_nothing_is_shown_before_a_model_or_a_day(ledger: Ledger) -> None:
    assert figures(ledger).model is None
    known_model(ledger)
    shown = figures(ledger)
    assert (shown.periods, shown.first, shown.found, shown.left) == ((), None, None, 0)


def test_days_add_up_to_weeks(ledger: Ledger, model_id: int) -> None:
    last = yesterday(ledger)
    keep_days(ledger, {last - timedelta(days=n): {everything(model_id): some(100, 20)} for n in range(30)})
    weeks = figures(ledger, Asked(Period.WEEK)).periods
    assert weeks[-1].images == 100 * (last.weekday() + 1)
    assert weeks[-2].images == 700
    flagged, sensitivity = weeks[-2].flagged, weeks[-2].sensitivity
    assert flagged is not None
    assert flagged.value == 0.2
    assert sensitivity is not None
    assert (sensitivity.value, sensitivity.sampled) == (1.0, True)


def test_people_do_not_see_today_but_programs_do(ledger: Ledger, model_id: int) -> None:
    today = yesterday(ledger) + timedelta(days=1)
    keep_days(
        ledger,
        {
            today: {everything(model_id): some(50, 5)},
            yesterday(ledger): {everything(model_id): some(20, 5)},
        },
    )
    assert [day.images for day in figures(ledger).periods] == [20]
    assert [day.images for day in figures(ledger, person=False).periods] == [20, 50]


def test_days_that_wait_for_readers_are_withheld_under_a_blind_protocol(
    ledger: Ledger, model_id: int
) -> None:
    last = yesterday(ledger)
    keep_days(
        ledger,
        {
            last: {everything(model_id): some(40, 20, unread=1)},
            last - timedelta(days=1): {everything(model_id): some(30, 20)},
        },
    )
    assert [day.images for day in figures(ledger).periods] == [30, 40]
    follow(ledger, BLIND)
    shown = figures(ledger)
    assert [day.images for day in shown.periods] == [30, 0]
    assert shown.withheld == 1
    assert figures(ledger, person=False).withheld == 0


def test_small_groups_are_not_shown(ledger: Ledger, model_id: int) -> None:
    last = yesterday(ledger)
    female, male = (Group(Dimension.SEX, name, model_id) for name in "FM")
    keep_days(ledger, {last: {everything(model_id): some(109, 9), female: some(100, 8), male: some(9, 1)}})
    shown = figures(ledger, Asked(Period.DAY, Dimension.SEX))
    big, small = shown.groups
    assert (big.key, big.images, big.is_small) == ("F", 100, False)
    assert (small.key, small.images, small.is_small, small.flagged) == ("M", 0, True, None)
    rows = list(csv.DictReader(io.StringIO(as_csv(shown, "groups"))))
    assert [(row["too_small"], row["images"]) for row in rows] == [("no", "100"), ("yes", "")]


def test_scores_of_few_images_are_not_known_though_many_were_rejected(ledger: Ledger, model_id: int) -> None:
    days = {everything(model_id): some(5, 2), everything(NO_MODEL): Counts(rejected={"blank": 30})}
    keep_days(ledger, {yesterday(ledger): days})
    (day,) = figures(ledger).periods
    assert day.flagged is not None
    assert day.flagged.value is None
    assert day.rejected is not None
    assert day.rejected.value == pytest.approx(30 / 35)


def test_images_of_other_models_are_counted_apart(ledger: Ledger, model_id: int) -> None:
    other = known_model(ledger, "n" * 64).model_id
    days = {everything(model_id): some(20, 5), everything(other): some(70, 5)}
    keep_days(ledger, {yesterday(ledger): days})
    shown = figures(ledger, Asked(Period.DAY, model_id=model_id))
    assert [day.images for day in shown.periods] == [20]
    assert shown.others == 70
    with pytest.raises(LookupError):
        figures(ledger, Asked(model_id=99))


def test_readers_have_names_only_for_who_may_see_them(ledger: Ledger, model_id: int) -> None:
    ada = known_reader(ledger, "Ada")
    read = Counts(
        scored=some(40, 40).scored,
        flagged=40,
        flagged_read=FindingCounts(30, 10),
        clear_read_undrawn=FindingCounts(1),
    )
    days = {everything(model_id): some(90, 40), Group(Dimension.READER, str(ada), model_id): read}
    keep_days(ledger, {yesterday(ledger): days})
    asked = Asked(Period.DAY, Dimension.READER, str(ada))
    shown, nameless = figures(ledger, asked), figures(ledger, asked, names=False)
    assert [one.name for one in (*shown.groups, *nameless.groups)] == ["Ada", f"reader {ada}"]
    (group,) = shown.groups
    assert group.overridden is not None
    assert group.overridden.value == pytest.approx(11 / 41)
    assert group.ppv is not None
    assert group.ppv.value == 0.75
    for figure in (group.flagged, group.sensitivity, group.specificity, group.npv):
        assert figure is not None
        assert figure.value is None


def test_unknown_group_comes_last_and_ages_by_age(ledger: Ledger, model_id: int) -> None:
    names = ("unknown", "65-or-more", "6-17", "under-1", "1-5")
    groups = {Group(Dimension.AGE, name, model_id): some(20, 5) for name in names}
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 25)} | groups})
    shown = figures(ledger, Asked(Period.DAY, Dimension.AGE))
    assert [one.key for one in shown.groups] == ["under-1", "1-5", "6-17", "65-or-more", "unknown"]


def test_card_says_what_to_expect(ledger: Ledger) -> None:
    card = a_card("m" * 64)
    model = known_model(ledger, card=card)
    ids = fill(ledger, 1)
    lease_images(ledger, ids)
    record(ledger, model, [result(ids[0])])
    keep_days(ledger, {yesterday(ledger): {everything(model.model_id): some(200, 40)}})
    shown = figures(ledger)
    shares = expected_scores(read_card(card))
    assert shares is not None
    assert len(shares) == BINS
    assert sum(shares) == pytest.approx(1, abs=1e-6)
    assert shown.expected.scores == shares
    (day,) = shown.periods
    assert day.from_card is not None
    assert day.from_card.n == 200
    # The point of this model is none of the card's.
    assert (shown.expected.point, shown.expected.flagged) == ("balanced", None)


def test_drift_from_earlier_days_compares_with_the_days_before(ledger: Ledger, model_id: int) -> None:
    last = yesterday(ledger)
    days = {last - timedelta(days=n): {everything(model_id): some(100, 10)} for n in range(1, 21)}
    keep_days(ledger, days | {last: {everything(model_id): some(100, 60)}})
    *_, before, now = figures(ledger).periods
    assert before.from_earlier is not None
    assert before.from_earlier.psi == pytest.approx(0)
    assert before.from_earlier.expected_n == 1900
    assert now.from_earlier is not None
    assert now.from_earlier.psi is not None
    assert now.from_earlier.psi > 0.5
    assert now.from_earlier.p is not None
    assert now.from_earlier.p < 1e-6


def test_until_ends_the_days(ledger: Ledger, model_id: int) -> None:
    last = yesterday(ledger)
    keep_days(ledger, {last - timedelta(days=n): {everything(model_id): some(10 + n, 5)} for n in range(5)})
    shown = figures(ledger, Asked(Period.DAY, until=last - timedelta(days=3)))
    assert [day.images for day in shown.periods] == [14, 13]


@pytest.mark.parametrize("table", TABLES)
def test_each_table_has_its_columns(ledger: Ledger, model_id: int, table: str) -> None:
    days = {
        everything(model_id): some(100, 20),
        everything(NO_MODEL): Counts(rejected={"blank": 4}),
        Group(Dimension.VIEW, "PA", model_id): some(100, 20),
    }
    keep_days(ledger, {yesterday(ledger): days})
    shown = figures(ledger, Asked(Period.DAY, Dimension.VIEW))
    rows = list(csv.DictReader(io.StringIO(as_csv(shown, table))))
    assert table == "changes" or rows
    assert all(list(row) == [*COLUMNS[table], "disclaimer"] for row in rows)


def test_document_has_every_part(ledger: Ledger, model_id: int) -> None:
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20)}})
    document = json.loads(as_json(figures(ledger)))
    assert document["last"] == yesterday(ledger).isoformat()
    assert document["periods"][0]["sensitivity"]["value"] == 1.0
    assert len(document["calibration"]) == BINS
    assert document["changes"] is None


def test_share_of_far_images_is_that_of_the_measured_ones(ledger: Ledger, model_id: int) -> None:
    counts = replace(some(100, 20, far=6), measured=60)
    machine = Group(Dimension.MACHINE, "Agfa CR", model_id)
    keep_days(ledger, {yesterday(ledger): {everything(model_id): counts, machine: some(50, 10)}})
    shown = figures(ledger, Asked(Period.DAY, Dimension.MACHINE))
    assert shown.says_distance
    (day,), (of_machine,) = shown.periods, shown.groups
    assert day.far is not None
    assert (day.far.value, day.far.n) == (0.1, 60)
    assert day.far.low is not None
    assert day.far.high is not None
    assert day.far.low < 0.1 < day.far.high
    assert of_machine.far is not None
    assert (of_machine.far.value, "does not say" in of_machine.far.why_not) == (None, True)
    (row,) = csv.DictReader(io.StringIO(as_csv(shown, "periods")))
    assert (row["far_value"], row["far_n"]) == ("0.1", "60")
    assert json.loads(as_json(shown))["periods"][0]["far"]["value"] == 0.1


def test_model_without_distance_has_no_share_of_far_images(ledger: Ledger, model_id: int) -> None:
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20)}})
    assert not figures(ledger).says_distance


def test_first_and_last_period_are_incomplete_unless_all_their_days_are_counted(ledger: Ledger) -> None:
    model_id, last = known_model(ledger).model_id, yesterday(ledger)
    # From a Wednesday on.
    first = last - timedelta(days=last.weekday() + 12)
    days = {
        first + timedelta(days=number): {everything(model_id): some(50, 20)}
        for number in range((last - first).days + 1)
    }
    keep_days(ledger, days)

    def complete(period: Period) -> list[bool]:
        with ledger.reading() as session:
            figures = monitor_figures(session, Asked(period))
        return [one.is_complete for one in figures.periods]

    weeks = complete(Period.WEEK)
    assert weeks == [False, True, last.weekday() == 6]
    assert all(complete(Period.DAY))


@pytest.mark.parametrize(
    ("period", "first", "last"),
    [
        (Period.DAY, "2026-03-01", "2026-03-01"),
        (Period.WEEK, "2026-02-23", "2026-03-01"),
        (Period.MONTH, "2026-02-01", "2026-02-28"),
        (Period.MONTH, "2025-12-01", "2025-12-31"),
    ],
)
def test_periods_end_before_the_next_one(period: Period, first: str, last: str) -> None:
    assert period.last_of(date.fromisoformat(first)).isoformat() == last
