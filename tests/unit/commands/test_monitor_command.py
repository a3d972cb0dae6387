"""`nightread monitor`: the figures as text and JSON, and counting anew."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cards import a_card
from tests.filling import fill, known_model, score
from tests.ledgers import current_ledger
from tests.monitored import everything, keep_days, some, yesterday
from worker.cli import nightread
from worker.commands import monitor
from worker.config import Settings
from worker.ledger import monitoring
from worker.ledger.monitor_counts import Group
from worker.ledger.monitored_groups import Dimension
from worker.ledger.session import Ledger, ledger_time
from worker.ledger.tables import MonitorDay


def shown(ledger: Ledger, by: str = "all", group: str = "all", until: date | None = None) -> str:
    return monitor.as_text(monitor.read(ledger, period="day", by=by, group=group, until=until))


def test_empty_ledger_says_that_nothing_was_compared(ledger: Ledger) -> None:
    assert shown(ledger).splitlines() == ["No days were compared yet.", "No image was scored yet."]


def test_figures_stand_in_lines(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20)}})
    with ledger.transaction() as session:
        alert = {"attention": True, "sentence": "Something rose.", "sure": "Surely."}
        monitoring.keep_found(session, yesterday(ledger), [alert], ledger_time(session))
    lines = shown(ledger).splitlines()
    assert lines[0] == "CHANGED  Something rose. Surely."
    row, of_readings = [line for line in lines if line.startswith(yesterday(ledger).isoformat())]
    assert of_readings.split()[1] == "100.0"
    assert row.split()[1:3] == ["100", "20.0"]


def test_share_of_far_images_is_a_table_if_the_model_says_the_distance(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20)}})
    assert "far" not in shown(ledger)
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20, far=8)}})
    lines = shown(ledger).splitlines()
    (title,) = (number for number, line in enumerate(lines) if line.endswith("far %"))
    assert lines[title + 1].split()[:2] == [yesterday(ledger).isoformat(), "8.0"]


def test_no_line_is_wider_than_a_hundred_columns(ledger: Ledger) -> None:
    model_id, last = known_model(ledger, card=a_card()).model_id, yesterday(ledger)
    machine = "A Very Long Name of a Manufacturer of Radiographic Equipment CR"[:60]
    days = {
        last - timedelta(days=number): {
            everything(model_id): some(9_000, 8_880),
            Group(Dimension.MACHINE, machine, model_id): some(9_000, 20),
        }
        for number in range(70)
    }
    days[last][Group(Dimension.MACHINE, "unknown", model_id)] = some(5, 1)
    keep_days(ledger, days)
    for by in ("all", "machine"):
        text = shown(ledger, by=by)
        assert max(map(len, text.splitlines())) <= 100
        assert "sensitivity %" in text
        assert "PSI from earlier" in text
    lines = text.splitlines()
    assert "< 10" in text
    assert any(line.startswith(machine) for line in lines)


def test_what_is_not_known_of_any_row_is_one_line(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    unsampled = replace(some(100, 20), samples={})
    keep_days(ledger, {yesterday(ledger): {everything(model_id): unsampled}})
    lines = shown(ledger).splitlines()
    told = [line.partition(": not known.")[0] for line in lines if ": not known." in line]
    assert told == ["sensitivity", "specificity", "npv", "PSI from card", "PSI from earlier"]
    assert not any("not known" in line for line in lines if line.startswith("20"))
    assert any(line.startswith("sensitivity: not known. ") and line.endswith(".") for line in lines)


def test_today_is_marked_as_incomplete(ledger: Ledger) -> None:
    model_id, last = known_model(ledger).model_id, yesterday(ledger)
    today = last + timedelta(days=1)
    keep_days(ledger, {day: {everything(model_id): some(100, 20)} for day in (last, today)})
    lines = shown(ledger).splitlines()
    assert any(line.startswith(f"{today} * ") for line in lines)
    assert not any(line.startswith(f"{last} *") for line in lines)
    assert "* Incomplete: this day is not over, or began before the first image." in lines


def test_days_and_groups_without_images_are_a_sentence(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20)}})
    assert shown(ledger, until=date(1990, 1, 1)).splitlines()[1:] == ["No day up to 1990-01-01 has an image."]
    lines = shown(ledger, by="age", group="1-5").splitlines()
    assert "group 1-5" in lines[1]
    assert lines[2:] == ["No image of these days is in this group."]


def test_group_that_there_is_not_is_told_with_those_that_there_are(ledger: Ledger) -> None:
    model_id = known_model(ledger).model_id
    of_machine = {Group(Dimension.MACHINE, "Agfa CR", model_id): some(50, 20)}
    keep_days(ledger, {yesterday(ledger): {everything(model_id): some(100, 20), **of_machine}})
    with pytest.raises(LookupError, match=r"there is no group nowhere by machine; there are: Agfa CR$"):
        shown(ledger, by="machine", group="nowhere")
    with pytest.raises(
        LookupError, match="no group 18-65 by age; there are: under-1, 1-5, 6-17, 18-64, 65-or-more"
    ):
        shown(ledger, by="age", group="18-65")


def test_small_probability_is_no_zero(ledger: Ledger) -> None:
    model_id, last = known_model(ledger).model_id, yesterday(ledger)
    before = {last - timedelta(days=number): {everything(model_id): some(100, 5)} for number in range(7, 20)}
    keep_days(ledger, {last: {everything(model_id): some(100, 90)}, **before})
    text = shown(ledger)
    assert "(p < 0.001)" in text
    assert "(p 0.000)" not in text


def test_group_needs_a_dimension(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="--group needs --by"):
        shown(ledger, group="F")


def test_rebuild_counts_what_is_there(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1, 2))
    assert monitor.rebuild(ledger) == 1
    with ledger.transaction() as session:
        session.query(MonitorDay).update({"counts": {}})
    assert monitor.rebuild(ledger) == 1
    with ledger.reading() as session:
        extent = monitoring.extent(session)
        assert extent is not None
        (row,) = monitoring.counts(session, Dimension.ALL, *extent)
    assert row.counts.images == 2


@pytest.fixture
def own_ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    """The ledger of the command, with two scored images."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "data"))
    opened = current_ledger(Settings(data=tmp_path / "data").database)
    score(opened, fill(opened, 1, 2))
    return opened


def run(*arguments: str) -> Result:
    result = CliRunner().invoke(nightread, ["monitor", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def test_commands_count_and_show(own_ledger: Ledger) -> None:
    assert "Days that were counted: 1." in run("rebuild").stderr
    document = json.loads(run("show", "--json", "--period", "day").stdout)
    assert document["periods"][0]["too_small"]
    assert "2026-03-01" in run("show", "--period", "day", "--until", "2026-03-01").stdout


def test_wrong_group_is_refused_with_a_sentence(own_ledger: Ledger) -> None:
    refused = run("show", "--group", "F")
    assert (refused.exit_code, refused.stderr) == (1, "--group needs --by.\n")
    assert run("show", "--by", "name").exit_code == 2
