"""worker.intake.site_key: the site key is made once, and a lost one is told and never replaced silently."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.filling import assert_consistent
from tests.ledgers import current_ledger
from worker.cli import nightread
from worker.config import Settings
from worker.intake.site_key import SiteKeyLost, SiteKeys
from worker.ledger.session import Ledger


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a data folder, of the command, too, which sets up no logs and no umask for the tests that follow."""
    chosen = Settings(data=tmp_path / "data")
    monkeypatch.setattr("worker.cli.start", lambda _process: chosen)
    return chosen


@pytest.fixture
def ledger(settings: Settings) -> Ledger:
    return current_ledger(settings.database)


@pytest.fixture
def keys(settings: Settings, ledger: Ledger) -> SiteKeys:
    return SiteKeys(settings, ledger)


def made(settings: Settings, ledger: Ledger) -> bytes:
    """Make the site key, as the first image with a patient ID does."""
    return SiteKeys(settings, ledger).require()


def command(*arguments: str, answer: str = "") -> tuple[int, str]:
    result = CliRunner().invoke(nightread, ["db", "site-key", *arguments], input=answer)
    said = result.output if result.exception is None else f"{result.output} {result.exception}"
    return result.exit_code, said


def test_key_is_made_once_and_only_its_owner_can_read_it(settings: Settings, ledger: Ledger) -> None:
    key = made(settings, ledger)
    assert len(key) == 32
    assert settings.site_key_path.read_bytes() == key == made(settings, ledger)
    assert settings.site_key_path.stat().st_mode & 0o777 == 0o600
    assert_consistent(ledger)


def test_processes_that_start_at_once_make_one_key(settings: Settings, ledger: Ledger) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(made(settings, ledger))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert_consistent(ledger)


def test_new_ledger_has_no_problem_and_no_key(settings: Settings, keys: SiteKeys) -> None:
    keys.check()
    assert not settings.site_key_path.exists()


def test_missing_key_is_told_and_not_made_anew(settings: Settings, ledger: Ledger, keys: SiteKeys) -> None:
    made(settings, ledger)
    settings.site_key_path.unlink()
    with pytest.raises(SiteKeyLost, match=r"site\.key is missing\. New images get no patient key"):
        keys.check()
    assert keys.key() is None
    assert not settings.site_key_path.exists()


@pytest.mark.parametrize("content", [b"k" * 32, b""], ids=["another key", "nothing"])
def test_file_with_another_key_is_told(
    settings: Settings, ledger: Ledger, keys: SiteKeys, content: bytes
) -> None:
    made(settings, ledger)
    settings.site_key_path.write_bytes(content)
    with pytest.raises(SiteKeyLost, match="holds another key than the ledger's"):
        keys.check()
    assert keys.key() is None


def test_short_key_is_refused(settings: Settings, keys: SiteKeys) -> None:
    settings.site_key_path.parent.mkdir(exist_ok=True)
    settings.site_key_path.write_bytes(b"short")
    assert keys.key() is None
    assert keys.known() is None


def test_folder_in_place_of_the_key_is_told(settings: Settings, ledger: Ledger, keys: SiteKeys) -> None:
    """As for a file that cannot be read: root may read any file."""
    made(settings, ledger)
    settings.site_key_path.unlink()
    settings.site_key_path.mkdir()
    with pytest.raises(SiteKeyLost, match="cannot be read"):
        keys.check()


def test_key_that_was_read_serves_until_the_process_ends(
    settings: Settings, ledger: Ledger, keys: SiteKeys
) -> None:
    key = keys.require()
    settings.site_key_path.unlink()
    assert keys.key() == key
    with pytest.raises(SiteKeyLost):
        keys.check()


def test_key_put_back_ends_the_problem(settings: Settings, ledger: Ledger, keys: SiteKeys) -> None:
    key = made(settings, ledger)
    settings.site_key_path.unlink()
    assert keys.key() is None
    settings.site_key_path.write_bytes(key)
    keys.check()
    assert keys.key() == key


def test_two_hosts_with_keys_of_their_own_are_told(tmp_path: Path, ledger: Ledger, keys: SiteKeys) -> None:
    other = SiteKeys(Settings(data=tmp_path / "other"), ledger)
    keys.require()
    with pytest.raises(SiteKeyLost):
        other.require()
    assert not other.path.exists()


@pytest.mark.usefixtures("ledger")
def test_command_says_that_no_key_is_needed_yet() -> None:
    assert command() == (
        0,
        "There is no site key yet. It is made when the first image with a patient ID arrives.\n",
    )


def test_command_copies_the_key_for_its_owner_only(
    settings: Settings, ledger: Ledger, tmp_path: Path
) -> None:
    key, copy = made(settings, ledger), tmp_path / "copy.key"
    code, said = command("--copy-to", str(copy))
    assert (code, copy.read_bytes()) == (0, key)
    assert copy.stat().st_mode & 0o777 == 0o600
    assert "apart from the backups" in said
    code, said = command("--copy-to", str(copy))
    assert code == 1
    assert "already exists" in said


def test_command_copies_no_wrong_key(settings: Settings, ledger: Ledger, tmp_path: Path) -> None:
    made(settings, ledger)
    settings.site_key_path.write_bytes(b"k" * 32)
    code, said = command("--copy-to", str(tmp_path / "copy.key"))
    assert code == 1
    assert "another key" in said
    assert not (tmp_path / "copy.key").exists()


def test_person_makes_a_new_key_in_place_of_a_lost_one(settings: Settings, ledger: Ledger) -> None:
    lost = made(settings, ledger)
    code, said = command("--new", answer="y\n")
    assert code == 1
    assert "Move it away first" in said
    settings.site_key_path.unlink()
    code, _ = command("--new", answer="n\n")
    assert (code, settings.site_key_path.exists()) == (1, False)
    code, said = command("--new", answer="y\n")
    assert code == 0
    assert settings.site_key_path.read_bytes() != lost
    assert made(settings, ledger) == settings.site_key_path.read_bytes()
    assert_consistent(ledger)
