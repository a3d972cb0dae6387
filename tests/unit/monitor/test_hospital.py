"""The simulated hospital in small: what was planted is found in time, and quiet years stay quiet. The long form: `make bench-hospital`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from bench import hospital, simulated_hospital
from bench.simulated_hospital import ALL, DIMENSIONS, counts_of, eventful, simulate
from worker.monitor.counts import Counts, total
from worker.monitor.estimates import sensitivity, share_far, specificity


@pytest.fixture(scope="module")
def found() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in hospital.events(np.random.default_rng(1), 1, 2_740)}


@pytest.mark.parametrize("planted", hospital.PLANTED, ids=lambda planted: planted.name)
def test_each_planted_change_is_found_in_time_with_its_cause(
    found: dict[str, dict[str, Any]], planted: hospital.Planted
) -> None:
    document = found[planted.name]
    assert document["days_most"] <= planted.within
    assert document["causes_right"] == 1
    assert document["kept"]


def test_quiet_years_raise_no_more_false_alarms_than_stated() -> None:
    """Three years of a small hospital: more than three alarms have a probability of 7 % at the stated rate, here none comes."""
    document = hospital.quiet(np.random.default_rng(2), 3, 300, 0.1)
    assert document["false_alarms"] <= 3
    assert document["series"] > 100


def test_every_dimension_counts_the_same_images() -> None:
    random = np.random.default_rng(3)
    counts = counts_of(simulate(random, images_a_day=100))
    whole = total(counts[ALL].values())
    for dimension, groups in DIMENSIONS.items():
        parts = total(day for name in groups for day in counts[dimension, name].values())
        assert parts == whole, dimension
    assert whole.images == whole.flagged + whole.uncertain + whole.clear
    readings: Counts = total(
        day for group, days in counts.items() if group[0] == "reader" for day in days.values()
    )
    assert readings.to_read == whole.to_read
    assert readings.clear_read == whole.clear_read


def test_the_figures_of_a_quiet_year_are_those_that_were_planted() -> None:
    year = simulate(np.random.default_rng(4))
    whole = total(counts_of(year)[ALL].values())
    scored = year.reason < 0
    shown = scored & (year.verdict > 0)
    # Readers are the reference, also where they err: of the truth, only the share of false alarms comes out nearly right.
    spared = (scored & ~year.has_signs & ~shown).sum() / (scored & ~year.has_signs).sum()
    assert specificity(whole).value == pytest.approx(spared, abs=0.003)
    far = share_far(whole)
    assert (
        far.value == pytest.approx((scored & year.far).sum() / scored.sum()) == pytest.approx(0.01, abs=0.001)
    )
    assert not (scored & year.far & (year.verdict == 0)).any()
    truth = (shown & year.has_signs).sum() / (scored & year.has_signs).sum()
    by_readers = sensitivity(whole).value
    assert by_readers is not None
    assert 0.05 < truth - by_readers < 0.15


def test_a_year_begins_and_changes_on_its_days() -> None:
    plan = eventful()
    assert plan.prevalence[0] == plan.prevalence[simulated_hospital.day("2026-03-01")] == 1
    assert plan.prevalence[simulated_hospital.day("2026-01-15")] == 2


def test_the_command_says_whether_promises_are_kept() -> None:
    options = ["--quiet-years", "1", "--eventful-years", "0", "--repetitions", "50", "--images-a-day", "60"]
    done = CliRunner().invoke(hospital.main, options)
    assert done.exit_code == 0, done.output
    assert "false alarms" in done.output
    assert "coverage: a day, 2,740 images" in done.output
    worse = {"quiet": [{"false_alarms_a_year": 0.51, "stated": 0.5}]}
    assert not hospital.is_kept(worse)
    assert not hospital.is_kept({"eventful": [{"kept": False}]})
