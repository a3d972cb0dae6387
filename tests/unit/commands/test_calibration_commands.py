"""`nightread calibration`: fit the scores of a model to the site's readings, put the fit in force, and revoke it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import make_url, text

from tests.cards import a_card
from tests.filling import assert_consistent, known_model
from tests.ledgers import current_ledger
from tests.site_readings import read_site
from worker.cli import nightread
from worker.config import Settings
from worker.ledger.session import Ledger

FIT = ("fit", "--why", "the first read images")


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    """An empty ledger."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "data"))
    return current_ledger(Settings(data=tmp_path / "data").database)


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger with enough readings, to copy."""
    file = tmp_path_factory.mktemp("read") / "ledger.sqlite3"
    made = current_ledger(f"sqlite:///{file}")
    read_site(made, card=a_card())
    made.close()
    return file


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, read: Path) -> Ledger:
    """A ledger with enough readings."""
    monkeypatch.setenv("NIGHTREAD_DATA", str(tmp_path / "data"))
    settings = Settings(data=tmp_path / "data")
    settings.data.mkdir()
    shutil.copy(read, str(make_url(settings.database).database))
    return Ledger(settings.database)


def run(*arguments: str, answer: str = "", command: str = "calibration") -> Result:
    result = CliRunner().invoke(nightread, [command, *arguments], input=answer)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.output
    return result


def test_fit_shows_held_out_figures_and_asks(site: Ledger) -> None:
    refused = run(*FIT, answer="n\n")
    assert refused.exit_code == 1
    for words in ("Brier score (perfect: 0): ", "no patient known", "beyond chance", "Put it in force?"):
        assert words in refused.stderr
    assert "No calibration of this model is in force." in run("show").stdout


def test_fitted_calibration_is_in_force(site: Ledger) -> None:
    shown = run(*FIT, answer="y\n")
    assert shown.exit_code == 0
    assert "In force: calibration 1, since " in shown.stdout
    assert ": the first read images" in shown.stdout
    assert "`nightread thresholds set calibrated-1 --numbers" in shown.stdout
    assert_consistent(site)


def test_json_has_everything(site: Ledger) -> None:
    document = json.loads(run(*FIT, "--yes", "--json").stdout)
    in_force = document["in_force"]
    assert in_force["version"] == 1
    assert in_force["verdict"] == "better"
    assert in_force["figures"]["fit"]["held_out"]["brier"]["difference"]["high"] < 0
    assert document["fitted"]["intercept"] == in_force["intercept"]
    assert [scores["compared_with"] for scores in document["scores"]] == ["card", "earlier", "calibration"]
    assert json.loads(run("show", "--json").stdout)["in_force"] == in_force
    assert run(*FIT, "--json").exit_code == 2


def test_point_that_is_proposed_can_be_put_in_force(site: Ledger) -> None:
    point = json.loads(run(*FIT, "--yes", "--json").stdout)["in_force"]["proposed_point"]
    numbers = [str(point[name]) for name in ("threshold", "band_low", "band_high")]
    assert (
        run(
            "set", point["name"], "--numbers", *numbers, "--why", "x", "--yes", command="thresholds"
        ).exit_code
        == 0
    )
    assert "In force: calibrated-1" in run("show", command="thresholds").stdout


def test_revoked_calibration_is_history(site: Ledger) -> None:
    run(*FIT, "--yes")
    document = json.loads(run("revoke", "--why", "another scanner", "--json").stdout)
    assert document["in_force"] is None
    assert [(change["version"], change["revoked"]) for change in document["changes"]] == [
        (None, 1),
        (1, None),
    ]
    text_now = run("show").stdout
    assert "calibration 1 revoked, by " in text_now
    again = run("revoke", "--why", "again")
    assert again.exit_code == 1
    assert again.stderr == "No calibration of this model is in force.\n"
    assert_consistent(site)


def test_audit_verify_finds_an_altered_calibration(site: Ledger) -> None:
    run(*FIT, "--yes")
    assert run("verify", command="audit").exit_code == 0
    with site.transaction() as session:
        session.execute(text("UPDATE site_calibration SET slope = 2.0"))
    found = run("verify", "--json", command="audit")
    assert found.exit_code == 1
    (mismatch,) = json.loads(found.stdout)["mismatches"]
    assert (mismatch["subject"], mismatch["what"]) == ("site_calibration:1", "slope")


def test_too_few_readings_are_refused_with_a_sentence(ledger: Ledger) -> None:
    assert run("show").stderr == "No model is known yet: start `nightread worker` first.\n"
    known_model(ledger)
    refused = run(*FIT, "--yes")
    assert refused.exit_code == 1
    assert refused.stderr == "No run is read to the end with images that this model scored.\n"
    unknown = run("show", "--model", "0")
    assert unknown.stderr == "No registered models have a SHA-256 that begins with 0.\n"
    assert "No calibration of this model is in force." in run("show", "--model", "MMM").stdout
