"""`nightread models`: list the models, make one active, and try one in the background."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from tests.bundles import SHIPPED, identity, recalibrated
from tests.filling import assert_consistent, fill, score
from tests.ledgers import current_ledger
from worker.card.loading import load_card
from worker.cli import nightread
from worker.config import Settings
from worker.ledger import models
from worker.ledger.session import Ledger

DEFAULT = identity(Settings().model)
VERSION = load_card(Settings().model)["version"]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    """An empty ledger, on a machine without a worker."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "data"))
    return current_ledger(Settings(data=tmp_path / "data").database)


@pytest.fixture
def other(ledger: Ledger, tmp_path: Path) -> str:
    """Return the SHA-256 of a second model in the folder of models."""
    return recalibrated(tmp_path / "data" / "models" / "tuned")


def run(*arguments: str, fails: int = 0) -> Result:
    result = CliRunner().invoke(nightread, ["models", *arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    assert result.exit_code == fails, result.output
    return result


def document(*arguments: str) -> Any:
    return json.loads(run(*arguments, "--json").stdout)


def active_sha256(ledger: Ledger) -> str | None:
    with ledger.reading() as session:
        model = models.active_model(session)
    return model.sha256 if model else None


def test_list_shows_bundles_that_nobody_has_registered(other: str) -> None:
    text = run("list").stdout
    assert f"nightread {VERSION}" in text
    assert f"nightread 9.0.0        {other[:12]}  0 images scored (not verified)" in text
    assert "Nobody has chosen another one." in text
    listed = document("list")
    assert listed["active"] == {
        "sha256": None,
        "source": "setting",
        "since": None,
        "set_by": None,
        "why": None,
    }
    assert {(model["sha256"], model["verified"]) for model in listed["models"]} == {
        *((identity(folder), True) for folder in SHIPPED),
        (other, False),
    }


def test_activate_is_on_record_and_goes_back(ledger: Ledger, other: str) -> None:
    listed = document("activate", "tuned", "--why", "better at night")
    assert (listed["active"]["sha256"], listed["active"]["source"]) == (other, "site")
    assert (listed["active"]["set_by"], listed["active"]["why"]) == (f"os:{os.getuid()}", "better at night")
    assert active_sha256(ledger) == other
    text = run("activate", DEFAULT[:12], "--why", "not better").stdout
    assert f"* nightread {VERSION}        {DEFAULT[:12]}  0 images scored (active)" in text
    assert f"Active: nightread {VERSION}, since " in text
    assert text.rstrip().endswith(f"set by os:{os.getuid()}: not better.")
    assert_consistent(ledger)


def test_site_goes_back_to_the_setting_of_each_worker(ledger: Ledger, other: str) -> None:
    run("activate", "tuned", "--why", "a trial")
    back = document("activate", "--default", "--why", "the trial is over")
    assert (back["active"]["sha256"], back["active"]["source"]) == (DEFAULT, "setting")
    assert (back["active"]["why"], back["changes"][0]["model"]) == ("the trial is over", None)
    text = run("list").stdout
    assert "Active: the model of the setting NIGHTREAD_MODEL of each worker, since " in text
    told = run("activate", "--default", "--why", "again", fails=1).stderr
    assert "Each worker scores with the model of its setting NIGHTREAD_MODEL already." in told
    assert "either the name of a model or --default" in run("activate", "--why", "x", fails=2).stderr
    assert_consistent(ledger)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("activate", "nowhere", "--why", "x"), "There is no model nowhere here; there are: "),
        (("activate", "tuned", "--why", " "), "A change of the active model needs a reason."),
        (("shadow", "tuned", "--why", " "), "Shadow scoring needs a reason."),
        (("shadow", "tuned", "--why", "x", "--since", "9999-12-31"), "The day 9999-12-31 is in the future"),
        (("shadow", "--off", "--why", "x"), "Nothing is scored in the background already."),
        (("show", "nowhere"), "There is no model nowhere here"),
    ],
)
def test_what_cannot_be_done_is_told(
    ledger: Ledger, other: str, arguments: tuple[str, ...], sentence: str
) -> None:
    assert sentence in run(*arguments, fails=1).stderr
    assert active_sha256(ledger) is None


@pytest.mark.parametrize("arguments", [("shadow", "--why", "x"), ("shadow", "a", "--off", "--why", "x")])
def test_shadow_needs_a_name_or_off(ledger: Ledger, arguments: tuple[str, ...]) -> None:
    assert "either the name of a model or --off" in run(*arguments, fails=2).stderr


def test_activate_needs_a_reason(ledger: Ledger) -> None:
    assert "--why" in run("activate", "tuned", fails=2).stderr


def test_shadow_says_how_far_the_candidate_has_come(ledger: Ledger, other: str) -> None:
    score(ledger, fill(ledger, 1, 2))
    listed = document("shadow", "tuned", "--why", "a trial", "--images", "7", "--since", "2026-01-31")
    shadow = listed["shadow"]
    assert (shadow["sha256"], shadow["images"], shadow["why"]) == (other, 7, "a trial")
    assert (shadow["done"], shadow["left"], shadow["arrived_since"]) == (0, 2, "2026-01-31T00:00:00+00:00")
    text = run("list").stdout
    assert "(candidate, not verified)" in text
    assert f"Candidate: {next(model for model in listed['models'] if model['shadow'])['name']} " in text
    assert "Looked at: 0 images; left: 2." in text
    assert document("shadow", "--off", "--why", "enough")["shadow"] is None
    assert_consistent(ledger)


@pytest.mark.parametrize("name", ["tuned", "nightread-9.0.0"])
def test_show_says_all_of_one_model(ledger: Ledger, other: str, name: str) -> None:
    run("activate", "tuned", "--why", "better at night")
    shown = document("show", name)
    assert (shown["sha256"], shown["active"], shown["verified"]) == (other, True, False)
    assert shown["folder"].endswith("/models/tuned")
    text = run("show", name).stdout
    assert "verified                no: Nightread does not ship" in text
    assert "made active             since" in text
    assert "can be made active      yes" in text


def test_show_finds_a_registered_model_without_a_bundle(ledger: Ledger) -> None:
    score(ledger, fill(ledger, 1))
    shown = document("show", "nightread-0.0.1")
    assert (shown["predictions"], shown["folder"]) == (1, None)
    assert shown["obstacle"].startswith("no machine has a bundle of the model mmmm")
