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


def add_far(ledger: Ledger, name: str, far: int, near: int) -> None:
    """Score a run with so many images far from the training data, and so many near it."""
    for distance, number in ((1.5, far), (0.5, near)):
        score(ledger, fill(ledger, *(next(NUMBERS) for _ in range(number)), run=name), distance=distance)


def test_run_with_many_more_far_images_is_told(ledger: Ledger) -> None:
    add_far(ledger, "first", 1, 20)
    add_far(ledger, "second", 1, 29)
    add_far(ledger, "third", 4, 20)
    assert unexpected(ledger) == []
    add_far(ledger, "third", 1, 0)
    (sentence,) = unexpected(ledger)
    assert (
        "5 images far from the training data, 20% of its scored images; of the runs before it, 3.9% were"
        in sentence
    )
    assert "third" not in sentence, "the name of a run may name a patient"


@pytest.mark.parametrize(
    ("earlier", "latest"),
    [((10, 40), (12, 38)), ((1, 48), (12, 38)), ((0, 60), (5, 46))],
    ids=["as many as always", "too few before", "few among many"],
)
def test_expected_far_images_are_not_told(
    ledger: Ledger, earlier: tuple[int, int], latest: tuple[int, int]
) -> None:
    add_far(ledger, "first", *earlier)
    add_far(ledger, "second", *latest)
    assert unexpected(ledger) == []


def test_canaries_are_not_compared(ledger: Ledger) -> None:
    add_run(ledger, "first", inside=3)
    add_run(ledger, "second", outside=6)
    add_run(ledger, "canary", nobody=1)
    assert len(unexpected(ledger)) == 1
