"""`nightread thresholds`: show the operating points, and put one in force."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cards import a_card
from tests.filling import assert_consistent, fill, follow, give_age, image, known_model, score
from tests.ledgers import current_ledger
from worker.cli import nightread
from worker.config import Settings
from worker.ledger.protocols import Protocol
from worker.ledger.session import Ledger

SHA256 = "m" * 64
OURS = ("ours", "--numbers", "0.2", "0.1", "0.2", "--why", "two cases were missed")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    """A ledger with a model and an unread image that is clear."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "data"))
    opened = current_ledger(Settings(data=tmp_path / "data").database)
    known_model(opened, card=a_card())
    follow(opened, Protocol(sample_share=0))
    return opened


@pytest.fixture
def clear(ledger: Ledger) -> int:
    (image_id,) = fill(ledger, 1)
    score(ledger, [image_id], p_pneumonia=0.15)
    known_model(ledger, card=a_card())
    return image_id


def run(*arguments: str, answer: str = "") -> Result:
    result = CliRunner().invoke(nightread, ["thresholds", *arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def test_show_prints_the_points_with_what_the_card_expects(ledger: Ledger) -> None:
    text = run("show").stdout
    assert "balanced       threshold 0.500, uncertain from 0.300 to 0.620; sensitivity 96.7 %" in text
    assert "* balanced" in text
    assert "(card, default)" in text
    assert "In force: balanced, the default of the model's card." in text


def test_set_asks_and_says_what_would_change(ledger: Ledger, clear: int) -> None:
    refused = run("set", *OURS, answer="n\n")
    assert refused.exit_code == 1
    assert "Of 1 unread images, 1 would get another verdict (clear to uncertain: 1)" in refused.stderr
    assert "Images to read because of their verdict: +1." in refused.stderr
    assert json.loads(run("show", "--json").stdout)["in_force"]["source"] == "card"
    done = run("set", *OURS, answer="y\n")
    assert done.exit_code == 0
    assert "* ours" in done.stdout
    assert f"set by os:{os.getuid()}: two cases were missed." in done.stdout
    assert image(ledger, clear).verdict == "clear"


def test_retriage_changes_unread_images(ledger: Ledger, clear: int) -> None:
    document = json.loads(run("set", *OURS, "--retriage", "--yes", "--json").stdout)
    assert document["retriaged"] == {
        "unread": 1, "changed": 1, "flagged": 0, "uncertain": 1, "clear": 0, "more_to_read": 1, "drawn": 0,
    }  # fmt: skip
    in_force = document["in_force"]
    assert (in_force["name"], in_force["source"], in_force["sensitivity"]) == ("ours", "site", None)
    assert in_force["why"] == "two cases were missed"
    assert image(ledger, clear).verdict == "uncertain"
    back = json.loads(run("set", "--default", "--why", "x", "--retriage", "--yes", "--json").stdout)
    assert (back["in_force"]["name"], back["in_force"]["source"]) == ("balanced", "card")
    assert image(ledger, clear).verdict == "clear"
    assert_consistent(ledger)


def test_group_gets_a_point_of_its_own(ledger: Ledger, clear: int) -> None:
    give_age(ledger, clear, 44)
    (other,) = fill(ledger, 2)
    score(ledger, [other], p_pneumonia=0.15)
    known_model(ledger, card=a_card())
    asked = run("set", *OURS, "--for", "age=18-64", answer="n\n")
    assert "Operating point ours for ages 18 to 64: threshold 0.2" in asked.stderr
    assert "Of 1 unread images, 1 would get another verdict" in asked.stderr
    done = run("set", *OURS, "--for", "age=18-64", "--retriage", "--yes")
    assert "For ages 18 to 64: ours, since 20" in done.stdout
    assert "Images of patients whose age is not known are in no group of ages." in done.stdout
    assert "* balanced" in done.stdout
    assert [image(ledger, one).verdict for one in (clear, other)] == ["uncertain", "clear"]
    document = json.loads(run("show", "--json").stdout)
    (group,) = document["groups"]
    assert (group["group"], group["name"], group["why"]) == ("age=18-64", "ours", "two cases were missed")
    assert document["changes"][0]["group"] == "age=18-64"
    overlapping = run("set", "screen", "--for", "age=60-90", "--why", "x", "--yes")
    assert "Ages 60 to 90 overlap ages 18 to 64, which have the point ours" in overlapping.stderr
    asked = run("set", "--default", "--for", "age=18-64", "--why", "x", answer="n\n")
    assert (
        "Images of ages 18 to 64 would have no point of their own, and follow the point of their source, or else balanced: threshold"
        in asked.stderr
    )
    run("set", "--default", "--for", "age=18-64", "--why", "x", "--retriage", "--yes")
    assert image(ledger, clear).verdict == "clear"
    assert_consistent(ledger)


def test_days_limit_a_retriage(ledger: Ledger, clear: int) -> None:
    document = json.loads(run("set", *OURS, "--retriage", "--days", "1", "--yes", "--json").stdout)
    assert document["retriaged"]["unread"] == 0
    assert image(ledger, clear).verdict == "clear"


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (
            ["paranoid", "--why", "x", "--yes"],
            1,
            "There is no operating point paranoid; the model and the site have: ",
        ),
        (["ours", "--numbers", "0.2", "0.3", "0.4", "--why", "x", "--yes"], 1, "in this order."),
        (["screen", "--numbers", "0.2", "0.1", "0.4", "--why", "x", "--yes"], 1, "choose another name."),
        (
            ["--default", "--why", "x", "--yes"],
            1,
            "The site has no operating point of its own for this model.",
        ),
        (["screen", "--for", "adults", "--why", "x", "--yes"], 1, "written as age=18-64 or source=upload."),
        (["screen", "--for", "age=18-20", "--why", "x", "--yes"], 1, "has 5 years or more"),
        (["screen", "--for", "source=fax", "--why", "x", "--yes"], 1, "the sources are folder"),
        (
            ["--default", "--for", "age=18-64", "--why", "x", "--yes"],
            1,
            "The group age=18-64 has no operating point of its own.",
        ),
        (["--why", "x"], 2, "Give either the name of a point or --default."),
        (["screen", "--default", "--why", "x"], 2, "Give either the name of a point or --default."),
        (["screen", "--why", "x", "--days", "3"], 2, "--days needs --retriage."),
        (["screen", "--why", "x", "--json"], 2, "--json needs --yes."),
        (["screen"], 2, "Missing option '--why'"),
    ],
)
def test_choice_that_cannot_work_is_refused(
    ledger: Ledger, arguments: list[str], status: int, sentence: str
) -> None:
    result = run("set", *arguments)
    assert (result.exit_code, result.stdout) == (status, "")
    assert sentence in result.stderr


def test_without_a_model_there_is_nothing_to_show(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "empty"))
    current_ledger(Settings(data=tmp_path / "empty").database)
    result = run("show")
    assert (result.exit_code, result.stderr) == (
        1,
        "No model is known yet: start `nightread worker` first.\n",
    )
