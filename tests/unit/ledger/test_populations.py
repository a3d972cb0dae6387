"""worker.ledger.populations: when many patients outside the population, or of unknown age, are a surprise."""

from __future__ import annotations

from itertools import count

import pytest

from tests.filling import fill, score
from worker.ledger import populations
from worker.ledger.session import Ledger, utc_now
from worker.ledger.status import status_document

NUMBERS = count()


def add_run(ledger: Ledger, name: str, **patients: int) -> None:
    """Score a run with so many patients of each population; `nobody`: nobody was checked."""
    for population, number in patients.items():
        ids = fill(ledger, *(next(NUMBERS) for _ in range(number)), run=name)
        score(ledger, ids, population=None if population == "nobody" else population)


def unexpected(ledger: Ledger) -> list[str]:
    with ledger.reading() as session:
        found = populations.unexpected(session)
        assert set(found) <= set(status_document(session, utc_now())["troubles"])
    return found


@pytest.mark.parametrize(
    ("population", "words"),
    [("outside", "5 images of patients outside"), ("unknown", "5 images of patients of unknown age")],
)
def test_many_such_patients_after_runs_without_any_are_told(
    ledger: Ledger, population: str, words: str
) -> None:
    add_run(ledger, "first", inside=3)
    add_run(ledger, "second", inside=20, **{population: 4})
    assert unexpected(ledger) == []
    add_run(ledger, "second", **{population: 1})
    (sentence,) = unexpected(ledger)
    assert words in sentence
    assert "second" not in sentence, "the name of a run may name a patient"


def test_site_without_ages_is_told_nothing(ledger: Ledger) -> None:
    for name in ("first", "second", "third"):
        add_run(ledger, name, unknown=10)
        assert unexpected(ledger) == []


def test_first_run_and_runs_of_earlier_versions_raise_no_expectation(ledger: Ledger) -> None:
    add_run(ledger, "before the upgrade", nobody=10)
    add_run(ledger, "after it", unknown=10)
    assert unexpected(ledger) == []


def test_few_among_many_are_expected(ledger: Ledger) -> None:
    add_run(ledger, "first", inside=3)
    add_run(ledger, "second", inside=60, outside=5)
    assert unexpected(ledger) == []


def test_canaries_are_not_compared(ledger: Ledger) -> None:
    add_run(ledger, "first", inside=3)
    add_run(ledger, "second", outside=6)
    add_run(ledger, "canary", nobody=1)
    assert len(unexpected(ledger)) == 1
